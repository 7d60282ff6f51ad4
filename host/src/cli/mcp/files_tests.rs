//! What leads out of the folder, and what is there after files were replaced.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Scene {
    outside: tempfile::TempDir,
    files: Files,
}

fn scene() -> Scene {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("work");
    fs::create_dir(&root).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    Scene { files: Files::open(&root).unwrap(), outside }
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.outside.path().join("work").join(name)
    }

    fn inside(&self, name: &str) -> Inside {
        self.files.inside("path", name).unwrap()
    }
}

#[test]
fn nothing_leads_out() {
    let scene = scene();
    fs::create_dir(scene.path("folder")).unwrap();
    symlink("../secret", scene.path("link")).unwrap();
    symlink("..", scene.path("up")).unwrap();
    symlink("/nowhere", scene.path("dangling")).unwrap();
    for (path, why) in [
        ("../secret", "`..`"),
        ("a/../../secret", "`..`"),
        ("/etc/passwd", "relative"),
        ("link", "symbolic link"),
        ("up/secret", "symbolic link"),
        ("up/new", "symbolic link"),
        ("dangling", "symbolic link"),
        ("folder", "no file"),
        (".", "no file"),
        ("", "1 to 1024"),
        ("a\0b", "1 to 1024"),
        (".git/hooks/pre-commit", "version control"),
        ("sub/.GIT/config", "version control"),
        (".wasmgate-backups/a", "backups"),
    ] {
        let error = scene.files.inside("path", path).unwrap_err();
        assert!(error.contains(why) && error.starts_with("`path` is "), "{path:?}: {error}");
    }
    assert_eq!(fs::read_to_string(scene.outside.path().join("secret")).unwrap(), "secret");
}

#[test]
fn a_link_that_comes_later_is_seen() {
    let scene = scene();
    let path = scene.inside("a/b");
    symlink(scene.outside.path(), scene.path("a")).unwrap();
    assert!(scene.files.replace(&path, None, Some("x")).unwrap_err().contains("symbolic link"));
    assert!(!scene.outside.path().join("b").exists());
    let path = scene.inside("c");
    symlink("../secret", scene.path("c")).unwrap();
    assert!(scene.files.read(&path).unwrap_err().contains("cannot be read"));
}

#[test]
fn what_was_there_is_kept() {
    let scene = scene();
    let path = scene.inside("src/a.py");
    let kept = scene.files.replace(&path, None, Some("one\n")).unwrap();
    assert!(kept.starts_with(".wasmgate-backups/files/src/a.py/") && kept.ends_with(".absent"), "{kept}");
    fs::set_permissions(scene.path("src/a.py"), fs::Permissions::from_mode(0o750)).unwrap();
    scene.files.replace(&path, Some("one\n"), Some("two\n")).unwrap();
    assert_eq!(fs::read_to_string(scene.path("src/a.py")).unwrap(), "two\n");
    assert_eq!(fs::metadata(scene.path("src/a.py")).unwrap().permissions().mode() & 0o777, 0o750);
    let (file, content) = scene.files.newest(&path).unwrap().unwrap();
    assert_eq!(content.as_deref(), Some("one\n"));
    scene.files.forget(&file);
    assert_eq!(scene.files.newest(&path).unwrap().unwrap().1, None);
    let left: Vec<_> = fs::read_dir(scene.path("src")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["a.py"]);
}

#[test]
fn nobodys_change_is_lost() {
    let scene = scene();
    fs::write(scene.path("a"), "mine").unwrap();
    let error = scene.files.replace(&scene.inside("a"), Some("old"), Some("new")).unwrap_err();
    assert!(error.contains("changed by somebody else"), "{error}");
    assert_eq!(fs::read_to_string(scene.path("a")).unwrap(), "mine");
}

#[test]
fn backups_are_bounded_and_in_order() {
    let scene = scene();
    let path = scene.inside("a");
    let mut old: Option<String> = None;
    for n in 0..2 * KEPT {
        let new = n.to_string();
        scene.files.replace(&path, old.as_deref(), Some(&new)).unwrap();
        old = Some(new);
    }
    let backups = scene.files.backups(&path).unwrap();
    assert_eq!(backups.len(), KEPT);
    assert_eq!(fs::read_to_string(backups.last().unwrap()).unwrap(), (2 * KEPT - 2).to_string());
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    let scene = scene();
    fs::write(scene.path("bytes"), [0xff, 0xfe]).unwrap();
    assert!(scene.files.read(&scene.inside("bytes")).unwrap_err().contains("UTF-8"));
    fs::write(scene.path("long"), vec![b'a'; MAX_FILE as usize + 1]).unwrap();
    assert!(scene.files.read(&scene.inside("long")).unwrap_err().contains("more than"));
    assert_eq!(scene.files.read(&scene.inside("none")), Ok(None));
}
