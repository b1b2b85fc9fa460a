//! Every file that a mesh leaves on its disks, with a flipped byte, cut off, and emptied. A program that starts on it has
//! what was there before, or says which file is wrong and what to do; it never goes on with something else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use mainstay_client::{Bundle, ClientIdentity, Mesh};
use mainstay_proto::v1;
use mainstay_tests::servers::free_port;
use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up, eventually, scripts};
use tempfile::TempDir;

/// A step with more output than a report holds: the rest is a file.
pub fn plan() -> String {
    scripts::plan("long", "print", "yes 0123456789abcdef | head -n 4000")
}

/// The disks of a mesh of one member and one agent that has worked: an entry, a lease, a run, a file.
pub struct Image {
    place: TempDir,
    lease: String,
}

pub fn image_options() -> Options {
    Options { coordinators: 1, agents: 1, policy: scripts::POLICY.to_owned(), ..Options::default() }
}

impl Image {
    pub async fn make() -> Image {
        let place = tempfile::Builder::new().prefix("image-").tempdir().expect("a directory");
        let mut up = Up::start_at(place.path(), image_options()).await;
        let run = up.start_run("long", &plan());
        assert_eq!(up.ended(&run).await["state"], "completed");
        let client = up.client();
        let request = v1::AcquireRequest {
            name: "kept".into(),
            incarnation: "i".into(),
            spec: Some(v1::LeaseSpec { slots: 1, ttl_ms: 3_600_000, kind: v1::LeaseKind::Ttl.into() }),
            ..v1::AcquireRequest::default()
        };
        client.acquire_lease(request).await.expect("the lease");
        let lease = lease_of(&client).await.expect("the lease is held");
        let saved = up.cli(&["mesh", "snapshot", "--to", &place.path().join("snapshot").display().to_string()]);
        assert!(saved.status.success(), "{saved:?}");
        // As a kill leaves it, which is what a store has to make sense of.
        up.kill_all();
        drop(up);
        Image { place, lease }
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::Builder::new().prefix("copy-").tempdir().expect("a directory");
        self.copy_to(copy.path());
        copy
    }

    pub fn copy_to(&self, to: &Path) {
        copy_dir(&self.place.path().join("mesh"), to);
    }

    /// A snapshot of that mesh.
    pub fn snapshot(&self) -> PathBuf {
        self.place.path().join("snapshot")
    }

    /// Files below one of its directories, from there.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let root = self.place.path().join("mesh").join(part);
        walk(&root, &mut found);
        let mut files: Vec<PathBuf> = found.into_iter().map(|file| file.strip_prefix(&root).expect("below it").to_owned()).collect();
        files.sort();
        files
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for item in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(item.file_name());
        if item.path().is_dir() { copy_dir(&item.path(), &target) } else { fs::copy(item.path(), target).map(|_| ()).expect("a copy") }
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).expect("a directory").flatten() {
        if item.path().is_dir() { walk(&item.path(), found) } else { found.push(item.path()) }
    }
}

async fn lease_of(client: &Mesh) -> Result<String, String> {
    let lease = client.get_lease(v1::GetLeaseRequest { name: "kept".into() }).await.map_err(|error| error.to_string())?;
    let held = lease.held.first().ok_or("nobody holds the lease")?;
    Ok(held.token.clone())
}

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit, so far into it, in thousandths.
    Flip(u64),
    Cut,
    Empty,
}

const DAMAGES: [Damage; 5] = [Damage::Flip(110), Damage::Flip(500), Damage::Flip(930), Damage::Cut, Damage::Empty];

impl Damage {
    fn inflict(self, file: &Path) {
        let mut bytes = fs::read(file).expect("the file");
        match self {
            Damage::Flip(_) if bytes.is_empty() => {}
            Damage::Flip(thousandths) => {
                let at = usize::try_from(bytes.len() as u64 * thousandths / 1_000).expect("a place");
                bytes[at] ^= 0x01;
            }
            Damage::Cut => bytes.truncate(bytes.len() / 2),
            Damage::Empty => bytes.clear(),
        }
        fs::write(file, bytes).expect("the damaged file");
    }
}

struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(name: &str, copy: &Path, args: &[&str]) -> Program {
        let log = copy.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        let mut command = Command::new(binaries().join(name));
        command.args(args).args(["--log", "info,openraft=error"]).stdin(Stdio::null());
        let child = command.stdout(file.try_clone().expect("the log")).stderr(file).spawn().expect("the program starts");
        Program { child, log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn status(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("its state").map(|status| status.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn coordinator(copy: &Path) -> (Program, u16, u16) {
    let (grpc, enrol) = (free_port(), free_port());
    let (dir, at, enrol_at) = (copy.join("c1").display().to_string(), format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{enrol}"));
    let args = ["--dir", &dir, "--name", "c1", "--listen", &at, "--enrol-listen", &enrol_at, "--http-listen", "none"];
    (Program::start("mainstay-coordinator", copy, &args), grpc, enrol)
}

fn operator(image: &Image, port: u16) -> Mesh {
    let bundle = Bundle::load(&image.place.path().join("mesh/operator")).expect("the operator's identity");
    Mesh::new(vec![format!("127.0.0.1:{port}")], ClientIdentity::new(bundle).expect("its certificate")).with_deadline(Duration::from_secs(2))
}

/// Words of a program that ended by itself: which file, and nothing that broke inside.
fn judge_words(code: Option<i32>, text: &str, file: &Path) -> Result<&'static str, String> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let words = text.lines().last().unwrap_or_default();
    if code != Some(1) && code != Some(2) {
        return Err(format!("it ended with {code:?}: {text}"));
    }
    if !words.contains(name) {
        return Err(format!("it does not say that {name} is wrong: {words}"));
    }
    let next = ["put back", "Put back", "move", "enrol again", "start with", "init", "take out", "names the id", "issuer"];
    if !next.iter().any(|word| words.contains(word)) {
        return Err(format!("it does not say what to do: {words}"));
    }
    Ok("refused")
}

fn no_panic(text: &str) -> Result<(), String> {
    // A library that panics at damage is caught, and its words are not the last ones.
    match text.lines().find(|line| line.contains("panicked at") && !line.contains("redb")) {
        Some(line) => Err(format!("it panicked: {line}")),
        None => Ok(()),
    }
}

/// Starts a coordinator on a damaged disk.
async fn try_coordinator(image: &Image, file: &Path, damage: Damage) -> Result<&'static str, String> {
    let copy = image.copy();
    let damaged = copy.path().join("c1").join(file);
    damage.inflict(&damaged);
    let (mut program, port, _) = coordinator(copy.path());
    let client = operator(image, port);
    let outcome = eventually("an answer or an end", || {
        let ended = program.status();
        let client = client.clone();
        async move {
            match ended {
                Some(code) => Ok(Err(code)),
                None => lease_of(&client).await.map(Ok).or_else(|error| if error.contains("nobody holds") { Ok(Ok(error)) } else { Err(error) }),
            }
        }
    })
    .await;
    no_panic(&program.text())?;
    match outcome {
        Err(code) => judge_words(code, &program.text(), file),
        Ok(lease) if lease == image.lease => Ok("served"),
        Ok(lease) => Err(format!("it serves {lease} instead of {}", image.lease)),
    }
}

async fn on_two<T: Send>(cases: Vec<T>, each: impl AsyncFn(T) -> Option<String>) -> Vec<String> {
    let (left, problems) = (Mutex::new(cases), Mutex::new(Vec::new()));
    let work = || async {
        while let Some(case) = { left.lock().unwrap().pop() } {
            let problem = each(case).await;
            problems.lock().unwrap().extend(problem);
        }
    };
    tokio::join!(work(), work(), work());
    problems.into_inner().unwrap()
}

fn cases(files: Vec<PathBuf>) -> Vec<(PathBuf, Damage)> {
    files.into_iter().flat_map(|file| DAMAGES.map(|damage| (file.clone(), damage))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_on_damaged_files_has_what_was_there_or_says_what_is_wrong() {
    mainstay_client::tls::install_provider();
    let image = Image::make().await;
    // Room that is only kept, and the file of a step, which is read and verified when somebody asks for it.
    let files =
        image.files("c1").into_iter().filter(|file| !file.ends_with("reserve") && !file.components().any(|part| part.as_os_str() == "artifacts"));
    let served = Mutex::new(0);
    let problems = on_two(cases(files.collect()), async |(file, damage)| match try_coordinator(&image, &file, damage).await {
        Ok(outcome) => {
            *served.lock().unwrap() += usize::from(outcome == "served");
            None
        }
        Err(problem) => Some(format!("{} {damage:?}: {problem}", file.display())),
    })
    .await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(served.into_inner().unwrap() > 0, "some of it is not needed");
}

/// Starts an agent on a damaged directory, beside a mesh that is well.
async fn try_agent(image: &Image, ports: (u16, u16), file: &Path, damage: Damage) -> Result<(), String> {
    let copy = image.copy();
    damage.inflict(&copy.path().join("a1").join(file));
    let dir = copy.path().join("a1").display().to_string();
    let (grpc, enrol) = (format!("127.0.0.1:{}", ports.0), format!("127.0.0.1:{}", ports.1));
    let args = ["--cluster", "local", "--node", "a1", "--dir", &dir, "--coordinators", &grpc, "--enrol", &enrol, "--http-listen", "none"];
    let mut program = Program::start("mainstay-agent", copy.path(), &args);
    let outcome = eventually("a link or an end", || {
        let (ended, text) = (program.status(), program.text());
        async move {
            match ended {
                Some(code) => Ok(Some(code)),
                None if text.contains("linked to the mesh") => Ok(None),
                None => Err(text),
            }
        }
    })
    .await;
    no_panic(&program.text())?;
    outcome.map_or(Ok(()), |code| judge_words(code, &program.text(), file).map(drop))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_on_damaged_files_does_its_work_or_says_what_is_wrong() {
    mainstay_client::tls::install_provider();
    let image = Image::make().await;
    let whole = image.copy();
    let (mut mesh, grpc, enrol) = coordinator(whole.path());
    let client = operator(&image, grpc);
    eventually("the mesh answers", || async { lease_of(&client).await }).await;
    let mut problems = Vec::new();
    for (file, damage) in cases(image.files("a1")) {
        if let Err(problem) = try_agent(&image, (grpc, enrol), &file, damage).await {
            problems.push(format!("{} {damage:?}: {problem}", file.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(mesh.status(), None, "the mesh was not disturbed");
}

/// What a person has on a machine: a list of meshes, an identity for each, and, where `up` or `init` was typed, a root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_damaged_files_say_which() {
    let image = Image::make().await;
    let home = tempfile::Builder::new().prefix("home-").tempdir().expect("a directory");
    let run = |config: &Path, args: &[&str]| {
        let mut command = Command::new(binaries().join("mainstay"));
        command.args(args).env("XDG_CONFIG_HOME", config).env_remove("MAINSTAY_CONTEXT").current_dir(home.path());
        command.stdin(Stdio::null()).output().expect("the command runs")
    };
    let at = |name: &str| home.path().join(name).display().to_string();
    let config = home.path().join("config");
    let (var, file, root) = (at("var"), at("coordinator.toml"), at("root.pem"));
    let init =
        ["init", "--name", "prod", "--advertise", "127.0.0.1:7400", "--operator", "ana", "--dir", &var, "--config", &file, "--root-key", &root];
    assert!(run(&config, &init).status.success());
    let up = home.path().join("mesh");
    image.copy_to(&up);
    let up = up.display().to_string();
    let again = ["member", "issuer", "--dry-run", "--name", "c1", "--dir", &var, "--root-key", &root];
    // A file, and a command that needs it.
    let needed: [(PathBuf, &[&str]); 5] = [
        (config.join("mainstay/contexts.toml"), &["context", "list"]),
        (config.join("mainstay/prod/identity.pem"), &["status"]),
        (root.clone().into(), &again),
        (home.path().join("var/identity.pem"), &again),
        (home.path().join("mesh/up.toml"), &["--dir", &up, "up"]),
    ];
    let mut problems = Vec::new();
    for (file, args) in needed {
        let whole = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for damage in DAMAGES {
            damage.inflict(&file);
            let output = run(&config, args);
            fs::write(&file, &whole).expect("the file as it was");
            let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !matches!(output.status.code(), Some(1..=3)) || !told.contains(name) || told.contains("panicked") {
                problems.push(format!("{} {damage:?}: {:?}: {told}", file.display(), output.status.code()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
