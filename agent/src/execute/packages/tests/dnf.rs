//! The real dnf and rpm, told to take a folder for the root, with a repository of packages that are made here.

use super::*;

const PROGRAMS: [&str; 4] = ["/usr/bin/dnf", "/usr/bin/rpm", "/usr/bin/rpmbuild", "/usr/bin/createrepo_c"];

struct Machine {
    dir: tempfile::TempDir,
}

fn done(command: &mut Command) -> String {
    let ended = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.status.success(), "{command:?}: {ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

impl Machine {
    /// Nothing where there is no dnf; and whoever is not root cannot go into another root, as rpm does.
    fn new() -> Option<Machine> {
        if !rustix::process::geteuid().is_root() || !PROGRAMS.iter().all(|program| Path::new(program).exists()) {
            println!("skipped: this machine has no dnf, or this is not root");
            return None;
        }
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        for folder in ["root/var/lib/rpm", "repository", "build"] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        let settings = "[main]\ngpgcheck=0\nplugins=0\nreposdir=/nowhere\n[test]\nname=test\nbaseurl=file://";
        fs::write(machine.at("dnf.conf"), format!("{settings}{}\n", machine.at("repository").display())).unwrap();
        Some(machine)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Puts a package into the repository, which has a setting of its own.
    fn publish(&self, name: &str, version: &str, setting: &str) {
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: of a test\nLicense: none\nBuildArch: noarch\n%description\nof a test\n%install\n\
             mkdir -p %{{buildroot}}/etc\necho {setting} > %{{buildroot}}/etc/{name}.conf\n%files\n%config(noreplace) /etc/{name}.conf\n"
        );
        let file = self.at(&format!("{name}.spec"));
        fs::write(&file, spec).unwrap();
        let (top, packages) = (self.at("build"), self.at("repository"));
        let mut build = Command::new("/usr/bin/rpmbuild");
        build.args(["--quiet", "-bb", "--define", &format!("_topdir {}", top.display())]);
        done(build.args(["--define", &format!("_rpmdir {}", packages.display())]).arg(&file));
        done(Command::new("/usr/bin/createrepo_c").arg("--quiet").arg(&packages));
    }

    fn tools(&self) -> Tools {
        let mut tools = Tools::of(Manager::Dnf);
        let root = self.at("root").display().to_string();
        let settings = self.at("dnf.conf").display().to_string();
        tools.change.extend(["--config".to_owned(), settings, format!("--installroot={root}"), "--releasever=1".to_owned()]);
        tools.list.extend(["--root".to_owned(), root]);
        tools
    }

    async fn run(&self, packages: &[&str]) -> (Result<Report, StepError>, String) {
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(Policy::default())).unwrap();
        let context = context.for_attempt(Labels::default(), Output::unwatched(), CancellationToken::new());
        let params = Params { manager: Wanted::Dnf, packages: packages.iter().map(|name| (*name).to_owned()).collect(), lock_wait: Span(MINUTE) };
        let ended = carry_out(&params, self.tools(), &context).await;
        (ended, context.output.tail())
    }
}

#[tokio::test]
async fn packages_are_installed_and_upgraded_once_and_changed_settings_stay() {
    let Some(machine) = Machine::new() else { return };
    machine.publish("greeting", "1.0", "hello");
    let ended = machine.run(&["greeting=1.0-1"]).await;
    assert_eq!(told(&ended), (1, vec!["greeting.noarch 1.0-1, which is new".to_owned()]), "{}", ended.1);

    // Something newer is there: its setting is not what the machine's owner has made of it.
    fs::write(machine.at("root/etc/greeting.conf"), "moin\n").unwrap();
    machine.publish("greeting", "1.1", "good-day");
    machine.publish("other", "1.0", "nothing");
    let ended = machine.run(&[]).await;
    assert_eq!(told(&ended), (1, vec!["greeting.noarch 1.0-1 → 1.1-1".to_owned()]), "all upgrades, and nothing that is not there: {}", ended.1);
    assert_eq!(fs::read_to_string(machine.at("root/etc/greeting.conf")).unwrap(), "moin\n");
    let report = ended.0.unwrap();
    assert_eq!((&report.outputs["mended"], report.outputs.get("rebootRequired")), (&json!(false), None), "it cannot be told");

    let ended = machine.run(&[]).await;
    assert_eq!((told(&ended), &ended.0.as_ref().unwrap().checks[0].message), ((0, vec![]), &"nothing was to be changed".to_owned()));

    // What there is not is said to be so, and no pattern of others.
    let (ended, output) = machine.run(&["greetin"]).await;
    let error = ended.unwrap_err();
    assert!(error.ended == Ended::Failed && error.report.unwrap().outputs["changed"] == json!(0), "{}", error.message);
    assert!(output.contains("No match for argument: greetin"), "{output}");
}
