//! Collections that carry their bound in their type and check it before they allocate.

use std::fmt;
use std::ops::Deref;

use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::id::Name;

/// More than a bounded collection holds
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} is more than the {max} that fit")]
pub struct TooMany {
    /// What was offered
    pub len: usize,
    pub max: usize,
}

/// At most `N` values; on the wire a `u16` count, then the values
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bounded<T, const N: usize>(Vec<T>);

impl<T, const N: usize> Bounded<T, N> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The first `N` of `values`; the rest is left out
    pub fn truncated(values: impl IntoIterator<Item = T>) -> Self {
        Self(values.into_iter().take(N).collect())
    }

    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for Bounded<T, N> {
    type Error = TooMany;

    fn try_from(values: Vec<T>) -> Result<Self, TooMany> {
        if values.len() > N { Err(TooMany { len: values.len(), max: N }) } else { Ok(Self(values)) }
    }
}

impl<T, const N: usize> Deref for Bounded<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a Bounded<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for Bounded<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn encode_count<E: Encoder>(len: usize, encoder: &mut E) -> Result<(), EncodeError> {
    let count = u16::try_from(len).map_err(|_| EncodeError::Other("count over u16"))?;
    count.encode(encoder)
}

fn decode_count<D: Decoder, const N: usize>(decoder: &mut D) -> Result<usize, DecodeError> {
    let count = usize::from(u16::decode(decoder)?);
    if count > N {
        return Err(DecodeError::Other("count over the bound"));
    }
    Ok(count)
}

impl<T: Encode, const N: usize> Encode for Bounded<T, N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        const { assert!(N <= u16::MAX as usize && size_of::<T>() > 0) };
        encode_count(self.0.len(), encoder)?;
        self.0.iter().try_for_each(|value| value.encode(encoder))
    }
}

impl<Context, T: Decode<Context>, const N: usize> Decode<Context> for Bounded<T, N> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        const { assert!(N <= u16::MAX as usize && size_of::<T>() > 0) };
        let count = decode_count::<D, N>(decoder)?;
        // Grown as values arrive, so a lying count allocates nothing.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(T::decode(decoder)?);
        }
        Ok(Self(values))
    }
}

/// At most `N` bytes; on the wire a `u16` count, then the bytes
///
/// It may be what somebody wrote to somebody, so `Debug` shows its length and nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes<const N: usize>(Vec<u8>);

impl<const N: usize> Bytes<N> {
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const N: usize> TryFrom<Vec<u8>> for Bytes<N> {
    type Error = TooMany;

    fn try_from(bytes: Vec<u8>) -> Result<Self, TooMany> {
        if bytes.len() > N { Err(TooMany { len: bytes.len(), max: N }) } else { Ok(Self(bytes)) }
    }
}

impl<const N: usize> Deref for Bytes<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const N: usize> Encode for Bytes<N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_count(self.0.len(), encoder)?;
        encoder.writer().write(&self.0)
    }
}

impl<Context, const N: usize> Decode<Context> for Bytes<N> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = decode_count::<D, N>(decoder)?;
        decoder.claim_bytes_read(count)?;
        let mut bytes = vec![0; count];
        decoder.reader().read(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// At most `N` bytes of UTF-8 without control characters; on the wire a `u16` count, then the bytes
///
/// Control characters are refused, so that printing another's text never drives a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<const N: usize>(String);

impl<const N: usize> Text<N> {
    /// The text, cut at a character's end after at most `N` bytes, control characters replaced
    pub fn truncated(text: &str) -> Self {
        let mut kept = String::new();
        for c in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
            if kept.len() + c.len_utf8() > N {
                break;
            }
            kept.push(c);
        }
        Self(kept)
    }

    fn parse(text: String) -> Result<Self, &'static str> {
        if text.len() > N {
            return Err("text over the bound");
        }
        if text.chars().any(char::is_control) {
            return Err("text with a control character");
        }
        Ok(Self(text))
    }
}

impl<const N: usize> TryFrom<String> for Text<N> {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(text)
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const N: usize> Encode for Text<N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_count(self.0.len(), encoder)?;
        encoder.writer().write(self.0.as_bytes())
    }
}

impl<Context, const N: usize> Decode<Context> for Text<N> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Bytes::<N>::decode(decoder)?.into_vec();
        let text = String::from_utf8(bytes).map_err(|_| DecodeError::Other("text that is not UTF-8"))?;
        Self::parse(text).map_err(DecodeError::Other)
    }
}

impl Encode for Name {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_count(self.as_str().len(), encoder)?;
        encoder.writer().write(self.as_str().as_bytes())
    }
}

impl<Context> Decode<Context> for Name {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text = Text::<{ Name::BYTES_MAX }>::decode(decoder)?;
        text.parse().map_err(|_| DecodeError::Other("not a name"))
    }
}

impl<'de, Context, T: Decode<Context>, const N: usize> BorrowDecode<'de, Context> for Bounded<T, N> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl<'de, Context, const N: usize> BorrowDecode<'de, Context> for Bytes<N> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl<'de, Context, const N: usize> BorrowDecode<'de, Context> for Text<N> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

bincode::impl_borrow_decode!(Name);
