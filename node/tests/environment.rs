//! The real `kith`, and the variables of the environment that it hears, or not.

#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

use std::path::Path;
use std::process::{Command, Stdio};

/// The exit code and what stands on standard error, with `variable` set to `value`
fn run(home: &Path, args: &[&str], variable: &str, value: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(args).env_clear().env("KITH_HOME", home).env(variable, value).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn variable_that_nothing_reads_is_refused_with_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let expected = "kith: nothing reads the variable KITH_NAEM; did you mean KITH_NAME?\n  unset KITH_NAEM\n";
    assert_eq!(run(home.path(), &["status"], "KITH_NAEM", "alice"), (2, expected.to_owned()));
}

#[test]
fn flag_overrides_the_environment_in_every_combination() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("secret");
    std::fs::write(&file, "open sesame").unwrap();
    let file = file.to_str().unwrap();
    for (variable, value, flag, given) in [
        ("KITH_SECRET", "other", "--secret-file", file),
        ("KITH_SECRET_FILE", file, "--secret", "other"),
        ("KITH_SECRET", "other", "--secret", "open sesame"),
        ("KITH_LINKS_MAX", "many", "--links-max", "8"),
    ] {
        // What is wrong then is only that there is no supernode.
        let (_, errors) = run(home.path(), &["run", "--name", "alice", flag, given], variable, value);
        assert!(errors.contains("no supernode to log in to"), "{variable} {flag}: {errors}");
    }
    for args in [["--home", "/nowhere/else", "status"], ["status", "--home", "/nowhere/else"]] {
        let (exit, errors) = run(home.path(), &args, "KITH_LOG", "info");
        assert!(exit == 3 && errors.contains("/nowhere/else"), "{errors}");
    }
}
