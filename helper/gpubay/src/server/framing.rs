//! What stands between the editor's bytes and tower-lsp, which ends its session at the first message that it cannot
//! read: here such a message becomes one that is answered with an error, and a huge one is skipped instead of kept.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tower_lsp::jsonrpc::{Request, Response};

/// The method that stands for a message that could not be read; its `params` say why.
pub(super) const MALFORMED: &str = "gpubay/malformed";
/// No honest message comes near it: the largest holds a document that is being edited.
const LARGEST: u64 = 32 << 20;
/// Of all headers together.
const LONGEST_HEADER: u64 = 4096;

/// Forwards messages until the end of `from`, or until its headers cannot be understood any more.
pub(super) async fn forward(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut from = BufReader::new(from);
    loop {
        let message = match next(&mut from).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(why))) => {
                tracing::warn!(why, "a message from the editor cannot be read");
                malformed(&why)
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the editor's messages end here");
                return;
            }
        };
        let header = format!("Content-Length: {}\r\n\r\n", message.len());
        // The other end closes when the session ends.
        if to.write_all(header.as_bytes()).await.is_err() || to.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn malformed(why: &str) -> Vec<u8> {
    serde_json::json!({ "jsonrpc": "2.0", "id": null, "method": MALFORMED, "params": [why] }).to_string().into_bytes()
}

/// The next message, or why it is none; `None` at the end.
async fn next(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
    let Some(length) = length(from).await? else { return Ok(None) };
    let length = match length {
        Ok(length) => length,
        Err(why) => return Ok(Some(Err(why))),
    };
    if length > LARGEST {
        tokio::io::copy(&mut from.take(length), &mut tokio::io::sink()).await?;
        return Ok(Some(Err(format!("a message of {length} bytes is too long; {LARGEST} is the limit"))));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await?;
    Ok(Some(understood(body)))
}

/// The length that the headers announce, or why none of them does.
async fn length(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Result<u64, String>>> {
    let mut length = None;
    let mut read = 0;
    loop {
        let mut line = Vec::new();
        read += (&mut *from).take(LONGEST_HEADER).read_until(b'\n', &mut line).await? as u64;
        if line.is_empty() {
            return Ok(None);
        }
        if read > LONGEST_HEADER {
            return Err(std::io::Error::other("its headers do not end"));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() {
            return Ok(Some(length.unwrap_or_else(|| Err("a message has no Content-Length".to_owned()))));
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let value = value.trim();
            length = Some(value.parse().map_err(|_| format!("{value:?} is no Content-Length")));
        }
    }
}

/// `body`, where tower-lsp will be able to read it.
fn understood(body: Vec<u8>) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(&body).map_err(|error| format!("a message is not UTF-8: {error}"))?;
    match serde_json::from_str::<Request>(text) {
        // One without a method is an answer, or nothing.
        Ok(request) if !request.method().is_empty() => Ok(body),
        other => {
            // tower-lsp takes anything without a method for an answer.
            let answers = |value: &serde_json::Value| value.get("result").is_some() || value.get("error").is_some();
            let is_answer = serde_json::from_str::<Response>(text).is_ok()
                && serde_json::from_str(text).is_ok_and(|value| answers(&value));
            let why = other.err().map_or_else(|| "it has no method".to_owned(), |error| error.to_string());
            if is_answer { Ok(body) } else { Err(format!("a message is no JSON-RPC: {why}")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn forwarded(bytes: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        forward(bytes, &mut out).await;
        let text = String::from_utf8(out).expect("text");
        text.split("Content-Length: ")
            .filter_map(|part| part.split_once("\r\n\r\n"))
            .map(|(_, body)| body.to_owned())
            .collect()
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    const GOOD: &[u8] = br#"{"jsonrpc":"2.0","method":"x"}"#;

    #[tokio::test]
    async fn what_cannot_be_read_is_answered_and_what_follows_still_counts() {
        for bad in [
            &b"\xff\xfe"[..],
            b"{",
            b"",
            b"[]",
            b"{}",
            br#"{"jsonrpc":"2.0"}"#,
            br#"{"jsonrpc":"1.0","method":"x"}"#,
            br#"{"jsonrpc":"2.0","method":5}"#,
            br#"{"jsonrpc":"2.0","id":1,"result":1,"error":2,"x":"#,
        ] {
            let said = forwarded(&[framed(bad), framed(GOOD)].concat()).await;
            assert_eq!(said.len(), 2, "{bad:?}: {said:?}");
            assert!(said[0].contains(MALFORMED), "{bad:?}: {said:?}");
            assert_eq!(said[1].as_bytes(), GOOD);
        }
    }

    #[tokio::test]
    async fn headers_are_read_leniently_and_not_forever() {
        let lenient = [&b"content-length:30\r\nX-Other: 1\r\n\r\n"[..], GOOD].concat();
        assert_eq!(forwarded(&lenient).await.len(), 1);
        for broken in ["Content-Length: x\r\n\r\n", "X: 1\r\n\r\n", "Content-Length: -1\r\n\r\n"] {
            let said = forwarded(&[broken.as_bytes(), &framed(GOOD)].concat()).await;
            assert_eq!(said.len(), 2, "{broken}");
        }
        assert_eq!(forwarded(&vec![b'x'; 1 << 20]).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_huge_message_is_skipped() {
        let huge = LARGEST + 1;
        let mut bytes = format!("Content-Length: {huge}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + huge as usize, b' ');
        bytes.extend(framed(GOOD));
        let said = forwarded(&bytes).await;
        assert!(said[0].contains("too long"), "{}", said[0]);
        assert_eq!(said[1].as_bytes(), GOOD);
        // One that is only announced costs nothing.
        assert_eq!(forwarded(b"Content-Length: 99999999999999\r\n\r\nabc").await.len(), 1);
    }
}
