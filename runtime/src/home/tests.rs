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
fn damaged_lock_is_refused_and_an_empty_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(directory.path());
    drop(home.lock().unwrap());
    let whole = fs::read(home.file(LOCK_FILE)).unwrap();
    let flipped: Vec<u8> = whole.iter().map(|byte| if *byte == b'k' { b'j' } else { *byte }).collect();
    fs::write(home.file(LOCK_FILE), flipped).unwrap();
    assert!(matches!(home.lock().unwrap_err(), HomeError::DamagedLock(_)));
    assert_eq!(home.other_program(), None);
    fs::write(home.file(LOCK_FILE), "").unwrap();
    drop(home.lock().unwrap());
}

#[test]
fn lock_holds_until_its_home_is_removed_or_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let home = home(&directory.path().join("alice"));
    home.create().unwrap();
    let lock = home.lock().unwrap();
    assert!(lock.holds());
    fs::rename(home.path(), directory.path().join("moved")).unwrap();
    assert!(!lock.holds());
    home.create().unwrap();
    let _other = home.lock().unwrap();
    assert!(!lock.holds());
}

#[test]
fn control_socket_is_private_replaces_a_dead_one_and_is_removed_after() {
    let directory = tempfile::tempdir().unwrap();
    // One of a usual length, and one over what a socket's address holds.
    for home in [home(&directory.path().join("alice")), home(&directory.path().join("h".repeat(120)))] {
        home.create().unwrap();
        let lock = home.lock().unwrap();
        // As a killed daemon leaves it: the file is there and nobody listens.
        drop(home.bind_control(&lock).unwrap().listener.try_clone().unwrap());
        let socket = home.bind_control(&lock).unwrap();
        assert_eq!((mode(socket.path()), socket.path()), (0o600, &*home.file(SOCKET_FILE)));
        home.connect_control().unwrap();
        drop(socket);
        assert!(home.connect_control().is_err() && !home.file(SOCKET_FILE).exists());
    }
}

#[test]
fn copy_of_a_home_has_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let (original, copy) = (home(&directory.path().join("h".repeat(120))), home(&directory.path().join("copy")));
    original.create().unwrap();
    copy.create().unwrap();
    let lock = original.lock().unwrap();
    let _socket = original.bind_control(&lock).unwrap();
    for entry in fs::read_dir(original.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.file(entry.file_name().to_str().unwrap())).unwrap();
        }
    }
    assert!(copy.connect_control().is_err());
}
