//! A page of metrics, asked of each member of this machine.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::{Bundle, ENTRY_MAX};
use crate::host;

/// A page is made within milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of each member by its name and address. That of another machine listens there alone, as a rule.
pub async fn of_members(members: &[(String, String)], bundle: &mut Bundle) {
    if members.is_empty() {
        return bundle.leave_out("metrics/", &"no coordinator of this machine is known; on the machine of one: curl http://127.0.0.1:7402/metrics");
    }
    let pages = join_all(members.iter().map(|(_, address)| tokio::time::timeout(PATIENCE, page(address)))).await;
    for ((name, address), page) in members.iter().zip(pages) {
        let file = format!("metrics/{name}.txt");
        match page {
            Ok(Ok(text)) => bundle.text(&file, &format!("metrics, from {address}"), &text),
            Ok(Err(error)) => bundle.leave_out(&file, &format!("{address}: {error}")),
            Err(_) => bundle.leave_out(&file, &format!("{address} did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

async fn page(address: &str) -> io::Result<String> {
    let socket = host::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let request = Request::get("/metrics").header("host", address).body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        if !answer.status().is_success() {
            return Err(io::Error::other(format!("it answered {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), ENTRY_MAX).collect().await.map_err(io::Error::other)?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    };
    // The connection carries the exchange, and ends with it.
    tokio::select! {
        page = ask => page,
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}
