//! As much of gRPC as one call with one answer needs: HTTP/2 as a client on a unix socket, a message behind a flag and its
//! length, the status in the trailers.

use std::{convert::Infallible, future::pending, io, path::Path};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, client};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use tokio::net::UnixStream;

use super::{KubeletError, MOST_BYTES};

/// A flag that says whether the message is compressed, and its length.
const PREFIX: usize = 5;
/// A message of no bytes, behind its prefix.
const EMPTY: &[u8] = &[0; PREFIX];
/// gRPC's status for a method that is not there.
const UNIMPLEMENTED: u32 = 12;
/// How much of a refusal's text is kept.
const MOST_OF_A_TEXT: usize = 256;

/// Calls a method whose request is an empty message, and returns the message that it answers.
pub(super) async fn unary(socket: &Path, method: &str) -> Result<Bytes, KubeletError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unconnected(socket, &error))?;
    let failed = |error: h2::Error| broken(socket, &error);
    let handshake = client::Builder::new()
        .enable_push(false)
        .max_header_list_size(16 << 10)
        .handshake::<_, Bytes>(stream);
    let (sender, connection) = handshake.await.map_err(failed)?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(failed)?;
        let (response, mut request) = sender.send_request(head(method)?, false).map_err(failed)?;
        request.send_data(Bytes::from_static(EMPTY), true).map_err(failed)?;
        let (head, mut body) = response.await.map_err(failed)?.into_parts();
        let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return Err(not_the_service(socket, format!("HTTP status {}", head.status)));
        }
        // An answer without a message has its status where the headers are.
        status(socket, &head.headers).unwrap_or(Ok(()))?;
        let message = read(socket, &mut body).await?;
        let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
        let without = || Err(KubeletError::Malformed("it ends without a status".to_owned()));
        status(socket, &trailers).unwrap_or_else(without)?;
        unframed(message)
    };
    // Nothing moves unless the connection is polled; what ends it, the exchange hears.
    let drive = async {
        let _ended = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        answer = exchange => answer,
        never = drive => match never {},
    }
}

fn head(method: &str) -> Result<Request<()>, KubeletError> {
    Request::builder()
        .method(Method::POST)
        // A unix socket has no authority; gRPC's servers want one.
        .uri(format!("http://localhost{method}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(())
        .map_err(|error| KubeletError::Connection(error.to_string()))
}

/// The body, so much and no more.
async fn read(socket: &Path, body: &mut RecvStream) -> Result<Vec<u8>, KubeletError> {
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|error| broken(socket, &error))?;
        let taken = body.flow_control().release_capacity(part.len());
        taken.map_err(|error| broken(socket, &error))?;
        message.extend_from_slice(&part);
        if message.len() > PREFIX + MOST_BYTES {
            return Err(KubeletError::TooLarge);
        }
    }
    Ok(message)
}

/// The one message of a body.
pub(super) fn unframed(body: Vec<u8>) -> Result<Bytes, KubeletError> {
    let malformed = |why: &str| KubeletError::Malformed(why.to_owned());
    let mut body = Bytes::from(body);
    if body.len() < PREFIX {
        return Err(malformed("it ends within the head of a message"));
    }
    if body.get_u8() != 0 {
        return Err(malformed("it is compressed, which nobody asked for"));
    }
    let length = body.get_u32();
    match usize::try_from(length) {
        Ok(length) if length == body.len() => Ok(body),
        Ok(length) if length > MOST_BYTES => Err(KubeletError::TooLarge),
        Ok(length) if length < body.len() => Err(malformed("it has more than one message")),
        _ => Err(malformed("it ends within a message")),
    }
}

/// What gRPC says of the call; `None` where these headers say nothing.
fn status(socket: &Path, headers: &HeaderMap) -> Option<Result<(), KubeletError>> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok());
    let text = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let message = String::from_utf8_lossy(text).chars().take(MOST_OF_A_TEXT).collect();
    Some(match code {
        Some(0) => Ok(()),
        Some(UNIMPLEMENTED) => Err(not_the_service(socket, message)),
        Some(code) => Err(KubeletError::Status { code, message }),
        None => Err(KubeletError::Malformed("its status is no number".to_owned())),
    })
}

pub(super) fn unconnected(socket: &Path, error: &io::Error) -> KubeletError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            KubeletError::NotMounted(socket.to_owned())
        }
        io::ErrorKind::ConnectionRefused => KubeletError::Refused(socket.to_owned()),
        io::ErrorKind::PermissionDenied => KubeletError::Permission(socket.to_owned()),
        _ => KubeletError::Connection(error.to_string()),
    }
}

/// A peer whose bytes are no HTTP/2 is another program; one that ends may be a kubelet that ends.
fn broken(socket: &Path, error: &h2::Error) -> KubeletError {
    if error.is_library() {
        not_the_service(socket, error.to_string())
    } else {
        KubeletError::Connection(error.to_string())
    }
}

fn not_the_service(socket: &Path, reason: String) -> KubeletError {
    KubeletError::NotTheService { path: socket.to_owned(), reason }
}
