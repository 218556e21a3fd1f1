//! The real `kith`, against no daemon, its own daemon, and a daemon that answers as told.

#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

mod cli {
    mod asking;
    mod daemon;
    mod pings;
    mod pipes;
}

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for a slow machine; nothing here is measured
const PATIENCE: Duration = Duration::from_secs(30);

fn kith(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(args).env_clear().env("KITH_HOME", home).stdin(Stdio::null());
    command
}

struct Ended {
    exit: i32,
    out: String,
    errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { exit: output.status.code().unwrap(), out: text(output.stdout), errors: text(output.stderr) }
    }
}

fn run(home: &Path, args: &[&str]) -> Ended {
    kith(home, args).output().unwrap().into()
}

/// A daemon that gives these answers to these requests, in order, then ends.
struct Fake {
    home: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl Fake {
    fn new(exchanges: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("control.sock")).unwrap();
        let exchanges: Vec<_> = exchanges.iter().map(|(asked, said)| (asked.to_string(), said.to_string())).collect();
        let server = std::thread::spawn(move || {
            for (asked, said) in exchanges {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                assert_eq!(line.trim_end(), asked);
                // A reader that has had enough is a case of its own.
                let _ = stream.write_all(said.as_bytes());
            }
        });
        Self { home, server }
    }

    fn run(self, args: &[&str]) -> Ended {
        let ended = run(self.home.path(), args);
        self.server.join().unwrap();
        ended
    }
}

fn one(asked: &str, said: &str, args: &[&str]) -> Ended {
    Fake::new(&[(asked, &format!("{said}\n"))]).run(args)
}

#[test]
fn every_verb_without_a_daemon_ends_with_3_and_says_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let verbs: [&[&str]; 15] = [
        &["status"],
        &["status", "--wait", "0"],
        &["neighbours"],
        &["neighbors"],
        &["peers"],
        &["lookup", "heidi"],
        &["send", "heidi", "hello"],
        &["inbox"],
        &["ping", "heidi"],
        &["trace", "heidi"],
        &["call", "heidi", "echo", "hello"],
        &["pipe", "heidi"],
        &["listen"],
        &["logout"],
        &["login"],
    ];
    let path = home.path().display();
    let expected = format!("kith: no daemon runs in {path}\n  start one: kith run --supernode HOST:7400 --name NAME\n");
    for verb in verbs {
        let ended = run(home.path(), verb);
        assert_eq!((ended.exit, ended.out.as_str(), ended.errors.as_str()), (3, "", expected.as_str()), "{verb:?}");
    }
    // Another home than the environment's has to be named again.
    let elsewhere = run(Path::new("/nowhere"), &["--home", &home.path().display().to_string(), "status"]);
    let named = format!("start one: kith --home {path} run --supernode HOST:7400 --name NAME\n");
    assert!(elsewhere.errors.ends_with(&named), "{}", elsewhere.errors);
    let ended = run(home.path(), &["--json", "status"]);
    let object: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (ended.exit, &object["exit"], &object["status"], &object["done"]),
        (3, &3.into(), &503.into(), &true.into())
    );
    assert!(ended.errors.is_empty());
}

#[test]
fn wrong_arguments_end_with_2_and_name_the_right_ones() {
    let home = tempfile::tempdir().unwrap();
    let table: [(&[&str], &str); 11] = [
        (&["sned", "heidi", "hello"], "a similar subcommand exists: 'send'"),
        (&["send", "heidi"], "<TEXT>..."),
        (&["send", "Heidi", "hello"], "a name consists of a-z, 0-9 and '-', not 'H'"),
        (&["ping", "heidi", "--count", "0"], "0 is not in 1.."),
        (&["ping", "heidi", "--interval", "0.001"], "not from 0.01 to 3600 seconds"),
        (&["ping", "heidi", "--size", "6000"], "6000 is not in 9..=5900"),
        (&["inbox", "--count", "0"], "not a whole number from 1 on"),
        (&["status", "--wait", "soon"], "not a number of seconds"),
        (&["run", "--links-max", "1000"], "1000 is not a whole number from 4 to 64"),
        (&["run", "--name", "alice"], "no supernode to log in to; type: kith run"),
        (&["run", "--supernode", "s", "--config", "/none.toml"], "cannot read /none.toml"),
    ];
    for (args, expected) in table {
        let ended = run(home.path(), args);
        assert_eq!((ended.exit, ended.out.as_str()), (2, ""), "{args:?}");
        assert!(ended.errors.contains(expected), "{args:?}: {}", ended.errors);
    }
    let ended = run(home.path(), &["inbox", "--raw", "--json"]);
    assert!(ended.exit == 2 && ended.out.contains("say one of --raw and --json"), "{}", ended.out);
    let ended = run(home.path(), &["send", "heidi", "--json"]);
    assert_eq!(ended.exit, 2);
    assert!(ended.out.starts_with("{\"done\":true,\"status\":400,\"exit\":2,\"error\":\""), "{}", ended.out);
}

#[test]
fn unknown_key_in_the_homes_file_ends_with_2_and_its_line() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("node.toml"), "\nsupernode = \"a\"\n").unwrap();
    let ended = run(home.path(), &["run"]);
    let file = home.path().join("node.toml");
    let expected = format!("kith: {}:2: unknown key \"supernode\"; did you mean \"supernodes\"?\n", file.display());
    assert_eq!((ended.exit, ended.errors), (2, expected));
}

#[test]
fn help_and_version_are_no_errors() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["--help"]);
    assert!(help.exit == 0 && help.out.contains("Examples:") && help.out.contains("kith send heidi hello"));
    assert_eq!(run(home.path(), &["--version"]).out, format!("kith {} (protocol 1)\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_there_for_every_shell_and_a_closed_pipe_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(home.path(), &["completions", shell]);
        assert!(ended.exit == 0 && ended.out.contains("neighbours"), "{shell}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = kith(home.path(), &["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn status_quiet_is_0_only_when_logged_in() {
    let answer = |state: &str, status: u16| {
        format!(
            "{{\"done\":true,\"status\":{status},\"name\":\"alice\",\"key\":\"\",\"peer_id\":\"12D3\",\"address\":null,\
             \"state\":\"{state}\",\"reason\":\"nobody answers\",\"supernode\":null,\"supernodes\":1,\"network\":null,\"epoch\":0,\
             \"members\":0,\"degree\":0,\"links_up\":0,\"links\":0,\"inbox_messages\":0,\"inbox_bytes\":0,\"outbox_messages\":0,\"outbox_bytes\":0,\
             \"uptime_s\":1,\"version\":\"0.1.0\",\"pid\":1,\"listen\":[]}}"
        )
    };
    let asked = "{\"verb\":\"status\"}";
    let table = [
        ("logged_in", 200, 0),
        ("searching", 503, 93),
        ("searching", 200, 93),
        ("logged_out", 401, 41),
        ("joining", 503, 93),
    ];
    for (state, status, exit) in table {
        let ended = one(asked, &answer(state, status), &["status", "--quiet"]);
        assert_eq!((ended.exit, ended.out.as_str(), ended.errors.as_str()), (exit, "", ""), "{state} {status}");
    }
    let ended = one(asked, &answer("searching", 503), &["status"]);
    assert_eq!(ended.exit, 93);
    assert!(ended.out.starts_with("alice is looking for a supernode: nobody answers\n"));
}

const SEND: &str = r#"{"verb":"send","name":"heidi","text":"hello","ttl_s":86400,"wait_ms":10000}"#;

fn sent(status: u16) -> String {
    format!(
        "{{\"done\":true,\"status\":{status},\"id\":\"{}\",\"to\":\"heidi\",\"hops\":3,\
         \"path\":[\"alice\",\"carol\",\"frank\",\"heidi\"],\"relayed\":false,\"elapsed_us\":2140,\"attempts\":1,\
         \"reason\":null}}",
        "07".repeat(16)
    )
}

#[test]
fn delivered_message_is_told_with_its_way() {
    let ended = one(SEND, &sent(200), &["send", "heidi", "hello"]);
    let expected = "delivered to heidi in 3 hops (alice → carol → frank → heidi), 2.1 ms\n";
    assert_eq!((ended.exit, ended.out.as_str(), ended.errors.as_str()), (0, expected, ""));
    let ended = one(SEND, &sent(200), &["send", "heidi", "hello", "--json"]);
    assert_eq!((ended.exit, ended.out), (0, format!("{}\n", sent(200))));
}

#[test]
fn undelivered_message_ends_with_its_status_and_what_to_type_next() {
    let ended = one(SEND, &sent(410), &["send", "heidi", "hello"]);
    assert_eq!((ended.exit, ended.out.as_str()), (50, ""));
    assert!(
        ended
            .errors
            .starts_with("kith: not delivered to heidi: 410 not here (1 attempt, 2.1 ms)\n  next: kith peers\n")
    );
    let ended = one(SEND, &sent(410), &["--json", "send", "heidi", "hello"]);
    assert_eq!((ended.exit, ended.out), (50, format!("{}\n", sent(410))));
}

#[test]
fn refused_request_is_told_with_the_daemons_hint() {
    let refusal = r#"{"done":true,"status":429,"error":"the daemon is busy","hint":"try again in a second"}"#;
    let ended = one(SEND, refusal, &["send", "heidi", "hello"]);
    assert_eq!((ended.exit, ended.errors.as_str()), (69, "kith: the daemon is busy\n  try again in a second\n"));
    let ended = one(SEND, refusal, &["send", "heidi", "hello", "--json"]);
    assert_eq!(ended.exit, 69);
    let expected =
        r#"{"done":true,"status":429,"exit":69,"error":"the daemon is busy","hint":"try again in a second"}"#;
    assert_eq!(ended.out.trim_end(), expected);
}

#[test]
fn answer_that_breaks_off_is_a_failure() {
    let ended = Fake::new(&[(SEND, "{\"done\":tr")]).run(&["send", "heidi", "hello"]);
    assert_eq!((ended.exit, ended.errors.as_str()), (90, "kith: the daemon's answer broke off: the daemon hung up\n"));
}

#[test]
fn message_from_standard_input_is_sent_byte_by_byte() {
    let fake = Fake::new(&[(
        r#"{"verb":"send","name":"heidi","data":"00ff","ttl_s":86400,"wait_ms":10000}"#,
        &format!("{}\n", sent(200)),
    )]);
    let mut child = kith(fake.home.path(), &["send", "heidi", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[0, 255]).unwrap();
    assert!(child.wait().unwrap().success());
    fake.server.join().unwrap();
}

#[test]
fn message_over_the_bound_ends_with_413_and_is_not_sent() {
    let home = tempfile::tempdir().unwrap();
    let mut child =
        kith(home.path(), &["send", "heidi", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&vec![b'x'; (16 << 20) + 1]).unwrap();
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), errors.as_str()), (Some(53), "kith: the message is longer than 16777216 bytes\n"));
}

const ID: &str = "01010101010101010101010101010101";

#[test]
fn message_that_waits_is_told_with_its_id_and_listed_with_why() {
    let kept = format!(
        "{{\"done\":true,\"status\":202,\"id\":\"{ID}\",\"to\":\"heidi\",\"hops\":0,\"path\":[],\"relayed\":false,\
         \"elapsed_us\":900,\"attempts\":0,\"reason\":\"its owner has logged out\",\"left_s\":3600}}\n"
    );
    let request = r#"{"verb":"send","name":"heidi","text":"hello","ttl_s":3600,"wait_ms":0}"#;
    let ended = one(request, kept.trim_end(), &["send", "heidi", "hello", "--ttl", "1h", "--no-wait"]);
    assert_eq!(ended.exit, 0);
    assert!(ended.out.starts_with("in the out-box for heidi: its owner has logged out;"), "{}", ended.out);
    assert!(ended.out.contains(&format!("next: kith fate {ID}")), "{}", ended.out);
    let list = format!(
        "{{\"done\":true,\"status\":200,\"messages\":1,\"bytes\":261,\"bytes_max\":1000,\"waiting\":[{{\"id\":\"{ID}\",\
         \"to\":\"heidi\",\"bytes\":5,\"age_s\":61,\"left_s\":3539,\"attempts\":2,\"reason\":null}}]}}"
    );
    let ended = one(r#"{"verb":"outbox"}"#, &list, &["outbox"]);
    let lines: Vec<&str> = ended.out.lines().collect();
    let cells: Vec<&str> = lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, [ID, "heidi", "5", "1 min 1 s", "58 min 59 s", "2", "no receipt by now"]);
    assert_eq!((lines[2], ended.exit), ("1 message, 261 B of 1.0 kB", 0));
}

#[test]
fn fate_ends_with_the_code_of_the_message() {
    let fate = |status: u16, more: &str| {
        format!(
            "{{\"done\":true,\"status\":{status},\"id\":\"{ID}\",\"to\":\"heidi\",\"attempts\":1,\"elapsed_us\":2100,\
             \"at\":\"2026-01-02T03:04:05Z\",{more}}}"
        )
    };
    let request = format!("{{\"verb\":\"fate\",\"id\":\"{ID}\"}}");
    let ended = one(&request, &fate(200, "\"reason\":null"), &["fate", ID]);
    assert_eq!(ended.out, "delivered to heidi at 2026-01-02T03:04:05Z, after 2.1 ms and 1 attempt\n");
    assert_eq!(ended.exit, 0);
    let ended = one(&request, &fate(410, "\"reason\":\"its owner has logged out\""), &["fate", ID]);
    assert_eq!((ended.exit, ended.out.as_str()), (50, ""));
    assert!(
        ended.errors.starts_with("kith: not delivered to heidi: 410 not here: its owner has logged out"),
        "{}",
        ended.errors
    );
}

const INBOX: &str = r#"{"verb":"inbox","follow":false,"from":null}"#;
const MESSAGES: &str = concat!(
    r#"{"sequence":1,"id":"01010101010101010101010101010101","from":"bob","address":"0123456789abcdef","confirmed":true,"at":"2026-01-02T03:04:05Z","bytes":5,"text":"one\u001b"}"#,
    "\n",
    r#"{"sequence":2,"id":"02020202020202020202020202020202","from":"carol","address":"0123456789abcdef","confirmed":true,"at":"2026-01-02T03:04:06Z","bytes":3,"text":"two"}"#,
    "\n",
    r#"{"done":true,"status":200,"messages":2}"#,
    "\n"
);

#[test]
fn messages_are_printed_first_and_then_read() {
    let read = r#"{"verb":"read","sequences":[1,2]}"#;
    let fake = Fake::new(&[(INBOX, MESSAGES), (read, "{\"done\":true,\"status\":200,\"removed\":2}\n")]);
    let ended = fake.run(&["inbox"]);
    // Into a pipe too: somebody reads it at a terminal later.
    assert_eq!(ended.out, "2026-01-02T03:04:05Z bob: one\\u{1b}\n2026-01-02T03:04:06Z carol: two\n");
    assert_eq!(ended.exit, 0);
}

#[test]
fn message_that_is_no_text_is_neither_replaced_nor_removed() {
    let data = MESSAGES.replace(r#""text":"one\u001b""#, r#""data":"00ff0a""#);
    let read = |sequences: &str| format!(r#"{{"verb":"read","sequences":[{sequences}]}}"#);
    let removed = "{\"done\":true,\"status\":200,\"removed\":1}\n";
    let ended = Fake::new(&[(INBOX, &data), (&read("2"), removed)]).run(&["inbox"]);
    let expected = "\
2026-01-02T03:04:05Z bob: (3 bytes, not text: --raw or --json has them)
2026-01-02T03:04:06Z carol: two
";
    assert_eq!((ended.exit, ended.out.as_str()), (0, expected));
    let fake = Fake::new(&[(INBOX, &data), (&read("1,2"), removed)]);
    let output = kith(fake.home.path(), &["inbox", "--raw"]).output().unwrap();
    fake.server.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"\x00\xff\ntwo"[..]));
}

#[test]
fn messages_kept_stay_unread_and_an_empty_inbox_says_so() {
    let ended = Fake::new(&[(INBOX, MESSAGES)]).run(&["inbox", "--keep", "--json"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, MESSAGES));
    let ended = one(INBOX, r#"{"done":true,"status":200,"messages":0}"#, &["inbox"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, "no messages\n"));
}

#[test]
fn messages_that_nobody_saw_stay_unread() {
    let fake = Fake::new(&[(INBOX, MESSAGES)]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = kith(fake.home.path(), &["inbox"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
    fake.server.join().unwrap();
}

#[test]
fn inbox_followed_reads_each_message_as_it_comes() {
    let home = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(home.path().join("control.sock")).unwrap();
    let args = ["inbox", "--follow", "--from", "bob"];
    let mut child = kith(home.path(), &args).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let asked = |stream: &UnixStream| {
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        line
    };
    let (mut inbox, _) = listener.accept().unwrap();
    assert_eq!(asked(&inbox), "{\"verb\":\"inbox\",\"follow\":true,\"from\":\"bob\"}\n");
    for message in MESSAGES.lines().take(2) {
        writeln!(inbox, "{message}").unwrap();
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("2026-"));
        let (mut read, _) = listener.accept().unwrap();
        assert!(asked(&read).starts_with("{\"verb\":\"read\",\"sequences\":["));
        read.write_all(b"{\"done\":true,\"status\":200,\"removed\":1}\n").unwrap();
    }
    drop(inbox);
    assert_eq!(child.wait().unwrap().code(), Some(90));
}

#[test]
fn result_of_a_call_goes_into_a_pipe_as_it_is() {
    let asked = r#"{"verb":"call","name":"heidi","function":"echo","arguments":["-n","hello"],"timeout_ms":10000}"#;
    let said = r#"{"done":true,"status":200,"id":"01010101010101010101010101010101","name":"heidi","function":"echo","answered":true,"result":"-n hello","elapsed_us":900,"reason":null}"#;
    let ended = one(asked, said, &["call", "heidi", "echo", "--", "-n", "hello"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, "-n hello\n"));
    let said = r#"{"done":true,"status":404,"id":"01010101010101010101010101010101","name":"heidi","function":"echo","answered":true,"result":null,"elapsed_us":900,"reason":"no such function; there are echo, status, time"}"#;
    let ended = one(asked, said, &["call", "heidi", "echo", "--", "-n", "hello"]);
    assert_eq!(ended.exit, 44);
    assert!(ended.errors.starts_with(
        "kith: heidi did not evaluate echo: 404 not found: no such function; there are echo, status, time\n"
    ));
}

#[test]
fn call_without_an_answer_tells_the_id_by_which_it_is_repeated() {
    let asked = r#"{"verb":"call","name":"heidi","function":"time","arguments":[],"timeout_ms":10000}"#;
    let said = r#"{"done":true,"status":408,"id":"0f0e0d0c0b0a09080706050403020100","name":"heidi","function":"time","answered":false,"result":null,"elapsed_us":10000000,"reason":"no answer in time"}"#;
    let ended = one(asked, said, &["call", "heidi", "time"]);
    assert_eq!(ended.exit, 48);
    assert!(ended.errors.contains("--id 0f0e0d0c0b0a09080706050403020100"), "{}", ended.errors);
    let asked = asked.replace('}', r#","id":"0f0e0d0c0b0a09080706050403020100"}"#);
    let said = said.replace("408", "200").replace(r#""result":null"#, r#""result":"2026-11-28T15:11:57.684Z""#);
    let ended = one(&asked, &said, &["call", "heidi", "time", "--id", "0f0e0d0c0b0a09080706050403020100"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, "2026-11-28T15:11:57.684Z\n"));
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["call", "heidi", "time", "--id", "0f0e"]).exit, 2, "no whole id");
}

#[test]
fn pins_are_told_and_changed() {
    let digits = "01".repeat(32);
    let pin = format!(r#"{{"name":"heidi","key":"{digits}","peer_id":"12D3KooWabc","refused":null}}"#);
    let pins = format!(r#"{{"done":true,"status":200,"pins":[{pin}],"more":false}}"#);
    let ended = one(r#"{"verb":"pins"}"#, &pins, &["trust"]);
    assert!(ended.exit == 0 && ended.out.ends_with("heidi  12D3KooWabc  -\n1 name\n"), "{}", ended.out);
    let ended = one(r#"{"verb":"pins","name":"heidi"}"#, &pins, &["trust", "heidi"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, "heidi has the key of peer id 12D3KooWabc\n"));
    let said = r#"{"done":true,"status":200,"name":"heidi","before":null}"#;
    let asked = format!(r#"{{"verb":"pin","name":"heidi","key":"{digits}"}}"#);
    assert_eq!(one(&asked, said, &["trust", "heidi", "--key", &digits]).exit, 0);
    assert_eq!(one(r#"{"verb":"unpin","name":"heidi"}"#, said, &["trust", "heidi", "--forget"]).exit, 0);
    let refused = r#"{"done":true,"status":404,"error":"no key is pinned to heidi"}"#;
    let ended = one(r#"{"verb":"pins","name":"heidi"}"#, refused, &["trust", "heidi"]);
    assert_eq!((ended.exit, ended.errors.as_str()), (44, "kith: no key is pinned to heidi\n"));
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["trust", "heidi", "--key", "0101"]).exit, 2, "no whole key");
    assert_eq!(run(home.path(), &["trust", "--forget"]).exit, 2, "whose?");
}

#[test]
fn neighbours_lookup_trace_login_and_logout_are_told() {
    let neighbours = r#"{"done":true,"status":200,"epoch":3,"neighbours":[]}"#;
    assert_eq!(one(r#"{"verb":"neighbours"}"#, neighbours, &["neighbours"]).out, "0 neighbours, 0 up (epoch 3)\n");
    let lookup = r#"{"done":true,"status":200,"name":"heidi","key":"00","peer_id":"12D3","address":"0123456789abcdef","locations":[],"stale":false,"source":"supernode"}"#;
    let ended = one(r#"{"verb":"lookup","name":"heidi"}"#, lookup, &["lookup", "heidi"]);
    assert!(ended.exit == 0 && ended.out.starts_with("heidi\n  address    01234567\n"));
    let refusal = r#"{"done":true,"status":404,"error":"nobody is called heidi"}"#;
    let refused = one(r#"{"verb":"lookup","name":"heidi"}"#, &refusal.replace("404", "429"), &["lookup", "heidi"]);
    assert_eq!((refused.exit, refused.errors.as_str()), (69, "kith: nobody is called heidi\n"));
    let hop = r#"{"index":1,"name":"carol","address":"0123456789abcdef","rtt_us":null,"choice":"nearest_ball","reason":"so"}"#;
    let trace = format!(
        r#"{{"done":true,"status":503,"name":"heidi","hops":[{hop}],"relayed":false,"attempts":1,"reason":"no candidate"}}"#
    );
    let ended = one(r#"{"verb":"trace","name":"heidi"}"#, &trace, &["trace", "heidi"]);
    assert!(ended.exit == 93 && ended.out.contains("carol"));
    assert!(ended.errors.starts_with("kith: no way to heidi: 503 unavailable: no candidate\n  next: kith"));
    let logout = r#"{"done":true,"status":200,"name":"alice","state":"logged_out","reason":null}"#;
    assert!(
        one(r#"{"verb":"logout"}"#, logout, &["logout"]).out.starts_with("alice is logged out; to come back: kith")
    );
    let login = r#"{"done":true,"status":409,"name":"alice","state":"searching","reason":"the name is taken"}"#;
    let ended = one(r#"{"verb":"login"}"#, login, &["login"]);
    assert_eq!(ended.exit, 49);
    assert!(ended.errors.starts_with("kith: alice is not logged in: 409 conflict: the name is taken\n"));
}
