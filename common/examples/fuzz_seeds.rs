//! Writes the golden vectors as the fuzzers' first inputs: `fuzz_seeds FOLDER` fills `FOLDER/<target>/`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

use kith_common::fuzzing;
use kith_common::wire::FRAME_HEADER_BYTES;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: fuzz_seeds FOLDER");
        return ExitCode::from(2);
    };
    match write_seeds(&folder) {
        Ok(count) => {
            println!("{count} seeds in {}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write_seeds(folder: &std::path::Path) -> io::Result<usize> {
    let vectors = fuzzing::golden().map_err(io::Error::other)?;
    let mut count = 0;
    for (number, vector) in vectors.iter().enumerate() {
        let is_packet = vector.name == "frame Packet" || vector.name == "frame Relay";
        let bytes = if is_packet { vector.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default() } else { &vector.bytes };
        let targets: &[(&str, &[u8])] = match vector.name.split(' ').next() {
            Some("frame") if is_packet => &[("frame", &vector.bytes), ("packet", bytes)],
            Some("frame" | "login" | "link") => &[("frame", &vector.bytes)],
            Some("packet") => &[("packet", bytes)],
            Some("payload" | "message") => &[("payload", bytes)],
            Some("certificate" | "grant") => &[("grant", bytes)],
            _ => &[],
        };
        for (target, bytes) in targets {
            fs::create_dir_all(folder.join(target))?;
            fs::write(folder.join(target).join(format!("golden-{number:03}")), bytes)?;
            count += 1;
        }
    }
    Ok(count)
}
