//! How a message travels: a little-endian `u32` length, then the message in postcard.
//!
//! Both ends distrust the other: a length above [`MAX_FRAME`] ends the connection before anything
//! is allocated for it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest body in bytes.
pub const MAX_FRAME: usize = 4 << 20;

/// How much file or terminal data one frame carries at most, in bytes.
pub const CHUNK: usize = 256 << 10;

/// # Errors
/// [`io::ErrorKind::InvalidData`] when the message cannot be encoded in [`MAX_FRAME`] bytes.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(invalid)?;
    let body = bytes.len() - 4;
    if body > MAX_FRAME {
        return Err(invalid(format!("a frame of {body} bytes is over the limit of {MAX_FRAME}")));
    }
    bytes[..4].copy_from_slice(&(body as u32).to_le_bytes());
    Ok(bytes)
}

/// Appends the frame of a message whose only field is `data`, without a copy of it in between.
///
/// # Errors
/// As [`encode`].
pub fn append_data<T: Serialize>(to: &mut Vec<u8>, message: fn(Vec<u8>) -> T, data: &[u8]) -> io::Result<()> {
    // The frame of the empty message ends with its data's length, a varint of one byte: 0.
    let mut head = encode(&message(Vec::new()))?;
    head.pop();
    let mut rest = data.len();
    while rest >= 0x80 {
        head.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    head.push(rest as u8);
    let body = head.len() - 4 + data.len();
    if body > MAX_FRAME {
        return Err(invalid(format!("a frame of {body} bytes is over the limit of {MAX_FRAME}")));
    }
    head[..4].copy_from_slice(&(body as u32).to_le_bytes());
    to.extend_from_slice(&head);
    to.extend_from_slice(data);
    Ok(())
}

/// # Errors
/// [`io::ErrorKind::InvalidData`] when the body is not one whole message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(body).map_err(invalid)? {
        (message, []) => Ok(message),
        (_, rest) => Err(invalid(format!("{} bytes after the end of a frame", rest.len()))),
    }
}

/// Checks a length prefix as it came.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is over [`MAX_FRAME`].
pub fn body_length(prefix: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME {
        return Err(invalid(format!("a frame of {length} bytes is over the limit of {MAX_FRAME}")));
    }
    Ok(length)
}

/// # Errors
/// Those of the writer, and of [`encode`].
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// The next message; `None` where the stream ends between two of them.
///
/// # Errors
/// Those of the reader, of [`decode`], and [`io::ErrorKind::UnexpectedEof`] inside a message.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    let mut got = 0;
    while got < prefix.len() {
        match from.read(&mut prefix[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut body = vec![0; body_length(prefix)?];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{FromAgent, ToAgent};
    use proptest::prelude::*;

    #[test]
    fn a_stream_ends_between_frames_only() {
        let mut bytes = encode(&ToAgent::StdinEof).expect("encodes");
        let mut whole = bytes.as_slice();
        assert!(matches!(read::<ToAgent>(&mut whole), Ok(Some(ToAgent::StdinEof))));
        assert!(matches!(read::<ToAgent>(&mut whole), Ok(None)));
        bytes.pop();
        assert!(read::<ToAgent>(&mut bytes.as_slice()).is_err());
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        let error = read::<ToAgent>(&mut [0xff_u8; 8].as_slice()).expect_err("over the limit");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<ToAgent>(&bytes);
            let _ = decode::<FromAgent>(&bytes);
            let _ = read::<FromAgent>(&mut bytes.as_slice());
        }

        #[test]
        fn appended_data_is_the_same_frame(bytes in proptest::collection::vec(any::<u8>(), 0..20000)) {
            let mut frame = Vec::new();
            append_data(&mut frame, FromAgent::Stdout, &bytes).expect("encodes");
            prop_assert_eq!(frame, encode(&FromAgent::Stdout(bytes)).expect("encodes"));
        }

        #[test]
        fn data_arrives_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let frame = encode(&FromAgent::Stdout(bytes.clone())).expect("encodes");
            match read(&mut frame.as_slice()).expect("decodes") {
                Some(FromAgent::Stdout(got)) => prop_assert_eq!(got, bytes),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
