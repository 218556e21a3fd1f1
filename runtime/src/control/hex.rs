//! Bytes in JSON: as hexadecimal digits.

use kith_common::hex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let bytes = hex::decode(&String::deserialize(deserializer)?);
    bytes.ok_or_else(|| D::Error::custom("expected pairs of hexadecimal digits"))
}
