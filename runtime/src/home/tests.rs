use super::*;

fn home(path: &Path) -> Home {
    Home::resolve(PEER, Some(path)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn home_is_the_given_one_then_the_users_own() {
    let (given, user) = (Path::new("/srv/alice"), Path::new("/home/a"));
    assert_eq!(Home::beneath(PEER, Some(given), Some(user)).unwrap().path(), given);
    assert_eq!(Home::beneath(PEER, None, Some(user)).unwrap().path(), Path::new("/home/a/.kith"));
    assert_eq!(Home::beneath(SUPERNODE, None, Some(user)).unwrap().path(), Path::new("/home/a/.kith-supernode"));
    assert!(matches!(Home::beneath(PEER, None, None), Err(HomeError::Unknown)));
    assert!(Home::beneath(PEER, Some(Path::new("x")), None).unwrap().path().is_absolute());
}

#[test]
fn command_names_the_home_unless_it_is_the_default() {
    let command = |given: Option<&str>| {
        let home = Home::beneath(PEER, given.map(Path::new), Some(Path::new("/home/a"))).unwrap();
        home.command("status")
    };
    assert_eq!(command(None), "kith status");
    assert_eq!(command(Some("/srv/alice")), "kith --home /srv/alice status");
    assert_eq!(command(Some("/srv/al ice")), "kith --home '/srv/al ice' status");
    assert_eq!(command(Some("/srv/al'ice")), r"kith --home '/srv/al'\''ice' status");
}

#[test]
fn home_is_made_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(&directory.path().join("deep/alice"));
    home.create().unwrap();
    assert_eq!(mode(home.path()), 0o700);
    home.create().unwrap();
}

#[test]
fn open_directory_is_closed_if_empty_or_a_home_and_refused_else() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(directory.path());
    let open = || fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    open();
    home.create().unwrap();
    assert_eq!(mode(home.path()), 0o700);

    fs::write(home.file("letter"), "dear").unwrap();
    open();
    let error = home.create().unwrap_err();
    assert!(matches!(error, HomeError::Open(_)));
    assert!(error.to_string().ends_with(&format!("chmod 700 {}", home.path().display())));
    assert_eq!(mode(home.path()), 0o755);

    drop(home.lock().unwrap());
    home.create().unwrap();
    assert_eq!(mode(home.path()), 0o700);
}

#[test]
fn file_in_the_place_of_the_home_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(matches!(home(&path).create(), Err(HomeError::NotADirectory(_))));
}

#[test]
fn second_daemon_in_one_home_is_refused_with_the_first_ones_process() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(directory.path());
    home.create().unwrap();
    let lock = home.lock().unwrap();
    assert_eq!(mode(&home.file(LOCK_FILE)), 0o600);
    let expected = format!(
        "kith already runs in {} (process {}); stop it, or give another --home",
        home.path().display(),
        std::process::id()
    );
    assert_eq!(home.lock().unwrap_err().to_string(), expected);
    drop(lock);
    home.lock().unwrap();
}

#[test]
fn supernode_in_a_peers_home_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(home(directory.path()).lock().unwrap());
    let error = Home::resolve(SUPERNODE, Some(directory.path())).unwrap().lock().unwrap_err();
    assert!(matches!(error, HomeError::OtherRole { program, .. } if program == "kith"));
}

#[test]
fn control_socket_is_private_replaces_a_dead_one_and_is_removed_after() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(directory.path());
    home.create().unwrap();
    let lock = home.lock().unwrap();
    // As a killed daemon leaves it: the file is there and nobody listens.
    drop(UnixListener::bind(home.file(SOCKET_FILE)).unwrap());
    let socket = home.bind_control(&lock).unwrap();
    assert_eq!(mode(socket.path()), 0o600);
    assert_eq!(home.control_path(), socket.path());
    std::os::unix::net::UnixStream::connect(home.control_path()).unwrap();
    let path = socket.path().to_owned();
    drop(socket);
    assert!(!path.exists() && !home.file(SOCKET_PATH_FILE).exists());
    assert_eq!(home.control_path(), home.file(SOCKET_FILE));
}

#[test]
fn socket_path_over_107_bytes_falls_back_to_a_short_directory() {
    let at = |bytes: usize| home(Path::new(&format!("/{}", "h".repeat(bytes - 1))));
    let short = at(SOCKET_PATH_BYTES_MAX - "/control.sock".len());
    assert_eq!(short.socket_path(None), short.file(SOCKET_FILE));
    assert_eq!(short.socket_path(None).as_os_str().len(), SOCKET_PATH_BYTES_MAX);

    let long = at(SOCKET_PATH_BYTES_MAX - "/control.sock".len() + 1);
    let fallback = long.socket_path(None);
    assert!(fallback.starts_with(format!("/tmp/kith-{}", rustix::process::geteuid().as_raw())));
    assert!(fallback.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
    assert!(long.socket_path(Some(Path::new("/run/user/7"))).starts_with("/run/user/7/kith"));
    assert_ne!(fallback, at(200).socket_path(None));
}

#[test]
fn socket_of_a_long_home_is_found_through_its_note() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(&directory.path().join("h".repeat(120)));
    home.create().unwrap();
    let lock = home.lock().unwrap();
    let socket = home.bind_control(&lock).unwrap();
    assert!(!socket.path().starts_with(home.path()));
    std::os::unix::net::UnixStream::connect(home.control_path()).unwrap();
}

#[test]
fn private_file_is_replaced_whole_and_0600() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(directory.path());
    home.write_private("boot", b"12").unwrap();
    home.write_private("boot", b"3").unwrap();
    assert_eq!(fs::read(home.file("boot")).unwrap(), b"3");
    assert_eq!(mode(&home.file("boot")), 0o600);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}
