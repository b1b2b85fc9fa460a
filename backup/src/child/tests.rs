use super::*;

fn shell(script: &str) -> Program {
    let arguments = ["-c", script].map(OsString::from).to_vec();
    Program { path: "/bin/sh".into(), arguments, environment: Vec::new(), within: None, deadline: Duration::from_secs(20) }
}

async fn read(mut flow: Flow) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    flow.read_to_end(&mut read).await.map(|_| read)
}

#[tokio::test]
async fn what_is_printed_ends_only_if_it_went_well() {
    assert_eq!(read(shell("printf abc").stream().unwrap()).await.unwrap(), b"abc");
    let failed = read(shell("printf abc; echo 'disk on fire' >&2; exit 3").stream().unwrap()).await.unwrap_err().to_string();
    assert_eq!(failed, "sh ended with status 3: disk on fire");
    let killed = read(shell("printf abc; kill -9 $$").stream().unwrap()).await.unwrap_err().to_string();
    assert_eq!(killed, "sh ended with a signal");
}

#[tokio::test]
async fn what_takes_too_long_is_ended() {
    let late = Program { deadline: Duration::from_millis(100), ..shell("printf abc; exec sleep 60") };
    let said = read(late.stream().unwrap()).await.unwrap_err().to_string();
    assert!(said.contains("sh was ended after 0 s"), "{said}");
    assert!(matches!(late.print().await, Err(ChildError::Late { .. })));
}

#[tokio::test]
async fn only_a_whole_input_is_seen_to_end() {
    let mark = tempfile::tempdir().unwrap();
    let file = mark.path().join("ended");
    let program = shell(&format!("cat > /dev/null; touch {}", file.display()));
    let (mouth, flow) = pipe::to_task();
    mouth.send(bytes::Bytes::from_static(b"abc")).await.unwrap();
    mouth.end(Err(io::Error::other("flipped"))).await;
    let error = program.feed(flow).await.unwrap_err().to_string();
    assert_eq!(error, "sh: flipped");
    assert!(!file.exists());
    program.feed(&b"abc"[..]).await.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn what_is_between_ends_only_if_both_ends_did() {
    let upper = || shell("tr a-z A-Z");
    assert_eq!(read(upper().filter(&b"abc"[..]).unwrap()).await.unwrap(), b"ABC");
    // Both at the same time, and more than any pipe holds.
    let much = vec![b'x'; 3 << 20];
    assert_eq!(read(upper().filter(io::Cursor::new(much)).unwrap()).await.unwrap(), vec![b'X'; 3 << 20]);
    let broken = || async {
        let (mouth, flow) = pipe::to_task();
        mouth.send(bytes::Bytes::from_static(b"abc")).await.unwrap();
        mouth.end(Err(io::Error::other("flipped"))).await;
        flow
    };
    let error = read(upper().filter(broken().await).unwrap()).await.unwrap_err().to_string();
    assert_eq!(error, "sh: flipped");
    let error = read(shell("cat; echo no >&2; exit 2").filter(&b"abc"[..]).unwrap()).await.unwrap_err().to_string();
    assert_eq!(error, "sh ended with status 2: no");
    // One that has enough is not done before the rest is known to be right.
    let mark = tempfile::tempdir().unwrap();
    let mark = mark.path().join("closed");
    let error =
        read(shell(&format!("exec <&-; touch {}; printf abc", mark.display())).filter(Late::of(&mark)).unwrap()).await.unwrap_err().to_string();
    assert!(error.ends_with("flipped"), "{error}");
}

/// Bytes that come when somebody has closed their ears, and break off in the end.
struct Late {
    mark: PathBuf,
    told: usize,
}

impl Late {
    fn of(mark: &Path) -> Late {
        Late { mark: mark.to_owned(), told: 0 }
    }
}

impl AsyncRead for Late {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        if !self.mark.exists() {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        self.told += 1;
        if self.told > 100 {
            return std::task::Poll::Ready(Err(io::Error::other("flipped")));
        }
        into.put_slice(b"abc");
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_failure_is_one_even_if_all_input_was_taken() {
    let error = shell("cat > /dev/null; echo no >&2; exit 1").feed(&b"abc"[..]).await.unwrap_err().to_string();
    assert_eq!(error, "sh ended with status 1: no");
    // It ends before it has read anything.
    let much = vec![0; 1 << 20];
    let error = shell("echo no >&2; exit 1").feed(&much[..]).await.unwrap_err().to_string();
    assert_eq!(error, "sh ended with status 1: no");
}

#[tokio::test]
async fn what_is_said_is_bounded() {
    let error = shell("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1").print().await.unwrap_err().to_string();
    assert!(error.len() < SAID_MAX + 100, "{}", error.len());
}
