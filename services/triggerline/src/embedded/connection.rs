//! One client's connection: request frames in, response frames out, one after the other.
//!
//! Tansu brings a service for this too. Ours can be told to stop between two requests; it refuses a frame that is
//! too long (Tansu's comparison is the wrong way round and refuses the others) before it allocates for it; it
//! sends no answer to `acks=0`, as clients expect; and it decodes in place, where Tansu moves every frame
//! to a blocking thread and back.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use rama::{Context, Service as _};
use tansu_broker::Error;
use tansu_sans_io::{Body, Frame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::broker::Routes;

/// Longest request: Kafka's own default (`socket.request.max.bytes`).
const LONGEST: usize = 100 << 20;

/// Serves until the client leaves, sends what isn't Kafka, or the broker closes.
///
/// A request that has begun is always seen through, also when the broker closes: dropping a future that
/// waits for Tansu's storage would end that storage for everyone.
pub(super) async fn serve(
    mut stream: TcpStream,
    routes: Routes,
    closing: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let frame = tokio::select! {
            biased;
            () = closing.cancelled() => return Ok(()),
            frame = read(&mut stream) => frame?,
        };
        let Some(frame) = frame else {
            return Ok(());
        };
        let request = Frame::request_from_bytes(frame).context("decoding a request")?;
        let (key, version) = (request.api_key()?, request.api_version()?);
        let unanswered = matches!(&request.body, Body::ProduceRequest(body) if body.acks == 0);
        let response = match routes.serve(Context::default(), request).await {
            Ok(response) => response,
            // Its text would be the whole frame.
            Err(Error::Service(tansu_service::Error::UnknownServiceFrame(_))) => {
                bail!("the embedded broker has no API {key}")
            }
            Err(error) => bail!("answering API {key} version {version}: {error}"),
        };
        if unanswered {
            continue;
        }
        let response = Frame::response(response.header, response.body, key, version)
            .with_context(|| format!("encoding the answer to API {key} version {version}"))?;
        tokio::select! {
            biased;
            written = stream.write_all(&response) => {
                if written.is_err() {
                    return Ok(()); // the client left before its answer
                }
            }
            () = closing.cancelled() => return Ok(()),
        }
    }
}

/// The next frame with its length in front, as the decoder wants it; none if the client has left.
async fn read(stream: &mut TcpStream) -> anyhow::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).await.is_err() {
        return Ok(None);
    }
    let Some(size) =
        usize::try_from(i32::from_be_bytes(length)).ok().filter(|size| *size <= LONGEST)
    else {
        bail!("{length:02x?} is no length of a Kafka request: is the client using TLS or HTTP?");
    };
    let mut frame = vec![0; length.len() + size];
    frame[..length.len()].copy_from_slice(&length);
    if stream.read_exact(&mut frame[length.len()..]).await.is_err() {
        return Ok(None);
    }
    Ok(Some(frame.into()))
}
