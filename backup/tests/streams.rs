//! Streams that are read at the same time: each is waited for by the others here, so that one after the other would never end.
//! Memory is measured: alone in its process.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::judge::Standing;
use mainstay_backup::progress::Teller;
use mainstay_backup::source::{Source, SourceError, Stream};
use mainstay_backup::{Store, check, scan};
use serde_json::Value;
use tokio::io::{AsyncRead, ReadBuf};

use support::{Keys, Made, back_up};

mod support;

const AT_ONCE: usize = 3;
/// What one stream may take, and what each further one may.
const MOST: u64 = (64 << 20) + (AT_ONCE as u64 - 1) * (36 << 20);

/// Gives its bytes when as many as that have been begun.
struct Waits {
    begun: Arc<AtomicUsize>,
    counts: bool,
    made: Made,
}

impl AsyncRead for Waits {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.counts {
            self.counts = false;
            self.begun.fetch_add(1, Ordering::SeqCst);
        }
        if self.begun.load(Ordering::SeqCst) < AT_ONCE {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.made).poll_read(context, into)
    }
}

/// Several streams at a time.
struct Several {
    to_come: Vec<(&'static str, Made)>,
    begun: Arc<AtomicUsize>,
}

impl Several {
    fn of(streams: Vec<(&'static str, Made)>) -> Several {
        Several { to_come: streams.into_iter().rev().collect(), begun: Arc::default() }
    }
}

impl Source for Several {
    fn kind(&self) -> &'static str {
        "several"
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        let next = self.to_come.pop().map(|(name, made)| {
            let reader = Box::new(Waits { begun: Arc::clone(&self.begun), counts: true, made });
            Stream { name: name.to_owned(), content: "application/octet-stream", reader }
        });
        async { Ok(next) }.boxed()
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }
}

fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's own state");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most that was resident");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_read_together_or_given_up_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::local(dir.path()).expect("a store");
    let keys = Keys::new();
    // The last ends first: they stand in the order in which they were opened.
    let mut source = Several::of(vec![("a", Made::new(300 << 20)), ("b", Made::new(200 << 20)), ("c", Made::new(10)), ("d", Made::new(1 << 20))]);
    let writing = back_up(&store, keys.order(1), &mut source);
    let written = tokio::time::timeout(Duration::from_secs(300), writing).await.expect("they are read together").expect("a backup");
    let names: Vec<(&str, u64)> = written.manifest.parts.iter().map(|part| (part.name.as_str(), part.plain.bytes)).collect();
    assert_eq!(names, [("a", 300 << 20), ("b", 200 << 20), ("c", 10), ("d", 1 << 20)]);
    let most = most_resident();
    println!("{} MiB at most", most >> 20);
    assert!(most <= MOST, "{} MiB", most >> 20);
    assert!(check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());

    // One breaks off: the others are not read to their ends, and nothing of them stays.
    let endless = || Made::new(usize::MAX);
    let mut broken = Made::new(2 << 20);
    broken.breaks_at = Some(1 << 20);
    let mut source = Several::of(vec![("a", endless()), ("b", broken), ("c", endless())]);
    let writing = back_up(&store, keys.order(2), &mut source);
    let ended = tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it ends with the one that broke off");
    assert_eq!(ended.expect_err("one broke off").to_string(), "part b: the source: the disk is on fire");
    let found = scan(&store, None, &keys.known()).await.expect("a scan");
    assert!(found.backups.iter().any(|judged| matches!(judged.standing, Standing::Sealed { .. })), "{found:?}");
    let left: Vec<String> = store.list("").await.expect("a listing").into_iter().map(|listed| listed.name).collect();
    assert!(!left.iter().any(|name| name.contains("T020000Z") && name.ends_with(".zst.age")), "{left:?}");
}
