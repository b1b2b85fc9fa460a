//! Images are made of files, the same for whoever makes them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

fn image(output: &Path, sources: &[String]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image");
    Command::new(script).arg("mainstay.test/tried:1").arg(output).arg("--run=/bin/tried").args(sources).output().expect("deploy/image runs")
}

#[test]
fn the_same_files_make_the_same_image() {
    let scratch = tempfile::tempdir().expect("a directory");
    let made = |round: &str| {
        // What differs between machines: when files were made, in what order, who may read them.
        let folder = scratch.path().join(round);
        fs::create_dir_all(folder.join("etc")).expect("a folder");
        let names = if round == "first" { ["a", "b"] } else { ["b", "a"] };
        for name in names {
            fs::write(folder.join("etc").join(name), name).expect("a file");
        }
        let mode = if round == "first" { 0o600 } else { 0o664 };
        fs::set_permissions(folder.join("etc/a"), fs::Permissions::from_mode(mode)).expect("rights");
        symlink("a", folder.join("etc/link")).expect("a link");
        let output = scratch.path().join(format!("{round}.tar"));
        let ended = image(&output, &[format!("{}:/", folder.display()), "/bin/true:/bin/tried".to_owned()]);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        fs::read(output).expect("the image")
    };
    let (first, second) = (made("first"), made("second"));
    assert!(first == second, "two images of the same files differ");

    let mut outer = tar::Archive::new(first.as_slice());
    let mut layer = outer.entries().expect("members").map(|entry| entry.expect("a member"));
    let layer = layer.find(|entry| entry.path().is_ok_and(|path| path.ends_with("layer.tar"))).expect("the files");
    let mut inner = tar::Archive::new(layer);
    let names: Vec<String> =
        inner.entries().expect("files").map(|entry| entry.expect("a file").path().expect("its name").display().to_string()).collect();
    for name in ["bin/tried", "etc/a", "etc/link"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    assert!(names.iter().any(|name| name.ends_with("libc.so.6")), "its libraries come along: {names:?}");
}

#[test]
fn a_file_that_is_missing_makes_no_image() {
    let scratch = tempfile::tempdir().expect("a directory");
    let output = scratch.path().join("image.tar");
    let ended = image(&output, &["/nonexistent/program".to_owned()]);
    assert!(!ended.status.success() && !output.exists());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("/nonexistent/program: there is no such file"));
}
