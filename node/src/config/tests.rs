use std::fs;

use kith_runtime::config::parse;
use kith_runtime::home::PEER;

use super::*;

const NODE_TOML: &str = include_str!("../../../config/node.toml");

fn from_text(text: &str) -> Result<Settings, ConfigError> {
    parse(Path::new("node.toml"), text)
}

fn refusal(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

fn home() -> Home {
    Home::resolve(PEER, Some(Path::new("/srv/alice"))).unwrap()
}

fn decided(text: &str) -> Result<DaemonConfig, ConfigError> {
    DaemonConfig::decide(home(), from_text(text).unwrap(), "host", None)
}

/// The file with its examples set: lines that begin with `#` and a key.
fn with_examples(text: &str) -> String {
    let is_example = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains('=');
    text.lines().map(|line| if is_example(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

#[test]
fn file_sets_the_defaults_and_nothing_else() {
    assert_eq!(from_text(NODE_TOML).unwrap(), Settings::defaults());
}

#[test]
fn file_has_every_key_and_each_example_is_valid() {
    let text = with_examples(NODE_TOML);
    let mut keys: Vec<_> = text.parse::<toml::Table>().unwrap().keys().cloned().collect();
    let mut expected = Settings::keys();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    from_text(&text).unwrap();
}

#[test]
fn every_key_is_a_flag_and_a_variable_of_the_environment() {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("run"));
    let variables: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
    let expected: Vec<_> = Settings::keys().iter().map(|key| format!("KITH_{}", key.to_uppercase())).collect();
    assert_eq!(variables, expected);
    assert!(command.get_arguments().all(|arg| arg.get_long().is_some()));
}

#[test]
fn flags_override_the_file_which_overrides_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, "supernodes = [\"a\", \"b:1\"]\nlinks_max = 8\nname = \"file\"\n").unwrap();
    let flags = Settings { name: "flag".parse().ok(), ..Settings::default() };
    let config = DaemonConfig::load(home(), flags, Some(&path)).unwrap();
    assert_eq!((config.name.as_str(), config.links_max, config.host.links_per_ip_max), ("flag", 8, 256));
    assert_eq!(
        config.supernodes.iter().map(|at| at.to_string()).collect::<Vec<_>>(),
        ["/dns/a/tcp/7400", "/dns/b/tcp/1"]
    );
}

#[test]
fn file_in_the_home_is_read_if_it_is_there_and_a_named_one_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::resolve(PEER, Some(directory.path())).unwrap();
    let flags = || Settings { supernodes: Some(vec!["a".parse().unwrap()]), ..Settings::default() };
    assert_eq!(DaemonConfig::load(home.clone(), flags(), None).unwrap().links_max, 64);
    fs::write(home.file("node.toml"), "links_max = 8").unwrap();
    assert_eq!(DaemonConfig::load(home.clone(), flags(), None).unwrap().links_max, 8);
    let error = DaemonConfig::load(home.clone(), flags(), Some(&home.file("none.toml"))).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
}

#[test]
fn unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    assert_eq!(
        refusal("# hello\n\nsupernode = \"a\"\nnmae = 1\n"),
        "node.toml:3: unknown key \"supernode\"; did you mean \"supernodes\"?"
    );
    assert_eq!(refusal("link_max = 1"), "node.toml:1: unknown key \"link_max\"; did you mean \"links_max\"?");
    assert_eq!(
        refusal("\n[log]\nlevel = 1"),
        "node.toml:2: bad value for \"log\": invalid type: map, expected a string"
    );
    assert!(refusal("colour = 1").starts_with("node.toml:1: unknown key \"colour\"; the keys are name, supernodes, "));
}

#[test]
fn bad_value_is_refused_with_its_line_and_what_would_be_right() {
    let table = [
        ("\nlinks_max = 65", "node.toml:2: bad value for \"links_max\": 65 is not a whole number from 4 to 64"),
        ("links_max = -1", "node.toml:1: bad value for \"links_max\": -1 is not a whole number from 4 to 64"),
        ("links_max = \"8\"", "node.toml:1: bad value for \"links_max\": invalid type: string \"8\", expected i64"),
        ("name = \"Alice\"", "node.toml:1: bad value for \"name\": a name consists of a-z, 0-9 and '-', not 'A'"),
        (
            "listen = [\"localhost:1\"]",
            "node.toml:1: bad value for \"listen\": \"localhost:1\" is not an IP address and a port; \
             for example 0.0.0.0:7401 or [::]:0",
        ),
        (
            "supernodes = [\n  \"a:1\",\n  \"b:x\",\n]",
            "node.toml:1: bad value for \"supernodes\": \"x\" is not a port; a port is a number from 0 to 65535",
        ),
        ("network = \"abc\"", "node.toml:1: bad value for \"network\": expected 64 hexadecimal digits"),
        (
            "log_format = \"xml\"",
            "node.toml:1: bad value for \"log_format\": \"xml\" is not a format of logs: text or json",
        ),
        (
            "secret = \" \"",
            "node.toml:1: bad value for \"secret\": a secret is not empty; leave it out for a network without one",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert!(refusal("links_max = 8\nname = \n").starts_with("node.toml:2: "));
    assert!(refusal("links_max = 8\nlinks_max = 9\n").starts_with("node.toml:2: duplicate key"));
}

#[test]
fn name_not_given_is_the_hosts() {
    let name = |host: &str| {
        DaemonConfig::decide(home(), from_text("supernodes = [\"a\"]").unwrap(), host, None).map(|c| c.name)
    };
    assert_eq!(name("d3b07384d113").unwrap().as_str(), "d3b07384d113");
    assert_eq!(name("Ada.local").unwrap().as_str(), "ada");
    assert!(name("my_host").unwrap_err().to_string().contains("--name NAME"));
}

#[test]
fn config_without_a_supernode_is_refused_with_what_to_type() {
    let error = decided("name = \"alice\"").unwrap_err().to_string();
    assert_eq!(
        error,
        "supernodes: no supernode to log in to; type: kith --home /srv/alice run --supernode HOST:7400 --name alice \
         (or kith join LINE with an invite, or set supernodes in /srv/alice/node.toml)"
    );
}

#[test]
fn fifth_external_location_is_refused() {
    let error = decided("supernodes = [\"a\"]\nexternal = [\"a:1\", \"a:2\", \"a:3\", \"a:4\", \"a:5\"]").unwrap_err();
    assert_eq!(error.to_string(), "external: at most 4 are possible, these are 5");
}

#[test]
fn listening_at_nothing_is_refused_and_a_bare_address_has_the_systems_port() {
    let listen = |text: &str| decided(&format!("supernodes = [\"a\"]\nlisten = {text}")).map(|config| config.listen);
    assert_eq!(listen("[]").unwrap_err().to_string(), "listen: no value");
    let all = listen("[\"[::]\", \"10.0.0.7:7401\"]").unwrap();
    assert_eq!(all.iter().map(|at| at.to_string()).collect::<Vec<_>>(), ["/ip6/::/tcp/0", "/ip4/10.0.0.7/tcp/7401"]);
}

#[test]
fn external_location_needs_a_port() {
    assert!(refusal("external = [\"example.org\"]").contains("bad value for \"external\""));
}

#[test]
fn secret_is_read_from_a_file_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, "supernodes = [\"a\"]\nsecret_file = \"secret\"").unwrap();
    fs::write(directory.path().join("secret"), "open sesame\n").unwrap();
    let config = DaemonConfig::load(home(), Settings::default(), Some(&path)).unwrap();
    assert_eq!(config.host.secret.as_ref().unwrap().as_bytes(), b"open sesame");
    assert!(!format!("{config:?}").contains("sesame"));
}

#[test]
fn file_that_is_too_long_is_refused_and_never_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (path, secret) = (directory.path().join("node.toml"), directory.path().join("secret"));
    let load = || DaemonConfig::load(home(), Settings::default(), Some(&path)).map_err(|error| error.to_string());
    let settings = "supernodes = [\"a\"]\nsecret_file = \"secret\"\n";
    // Of two bytes a character, so that a cut is in the middle of one.
    let comment = |bytes: usize| format!("{settings}# {}\n", "ü".repeat((bytes - settings.len()) / 2));
    fs::write(&secret, "open sesame\n").unwrap();
    fs::write(&path, comment(1024 * 1024 - 9)).unwrap();
    load().unwrap();
    fs::write(&path, format!("{}links_max = 8", comment(1024 * 1024))).unwrap();
    let error = load().unwrap_err();
    assert_eq!(error, format!("cannot read {}: it has more than 1048576 bytes", path.display()));
    fs::write(&path, settings).unwrap();
    fs::write(&secret, format!("open sesame{}more", "\n".repeat(4096))).unwrap();
    let error = load().unwrap_err();
    assert!(error.starts_with(&format!("cannot read {}: it has more than ", secret.display())), "{error}");
}

#[test]
fn secret_and_secret_file_together_are_refused() {
    assert!(decided("supernodes = [\"a\"]\nsecret = \"x\"\nsecret_file = \"y\"").is_err());
}

#[test]
fn secret_of_a_flag_hides_the_files_secret_file() {
    let host = HostSettings { secret: "open sesame".parse().ok(), ..HostSettings::default() };
    let flags = Settings { host, ..Settings::default() };
    let merged = flags.clone().over(from_text("secret_file = \"secret\"\nlinks_max = 8").unwrap());
    assert_eq!(merged, Settings { links_max: Some(Within::clamped(8)), ..flags });
}
