//! The one place that encodes and decodes with bincode.
//!
//! Fixed-size integers, little endian; an `Option` is one byte, an enum's variant a `u32`. Every collection checks its
//! own bound ([`super::bounded`]), so no limit of bincode's is needed: its limit counts size in memory and refuses
//! legal messages.

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::{Decode, Encode};

use super::WireError;

const CONFIG: Configuration<LittleEndian, Fixint, NoLimit> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding();

/// Appends `value` to `out`
///
/// # Errors
/// [`WireError::TooLong`] if a collection is longer than its bound; `out` may then end in a part of the value.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(super) fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    bincode::encode_into_std_write(value, out, CONFIG).map(|_| ()).map_err(|_| WireError::TooLong)
}

/// The bytes of `value`
///
/// # Errors
/// [`WireError::TooLong`] if a collection is longer than its bound.
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// The value that `bytes` are, all of them
///
/// # Errors
/// [`WireError::Malformed`] if they are not a `T`; [`WireError::Trailing`] if bytes are left over.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, consumed) = bincode::decode_from_slice(bytes, CONFIG).map_err(|_| WireError::Malformed)?;
    if consumed == bytes.len() { Ok(value) } else { Err(WireError::Trailing) }
}
