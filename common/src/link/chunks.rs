//! Buffers that frames wait in: an idle link holds none.

use std::cell::RefCell;

/// Bytes of frames that are written at a time; control waits for so many at most
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are kept for the next link: a burst on every link of a peer's at once is rare
const KEPT_MAX: usize = 32;

/// Spare chunks, shared by all links of one thread
#[derive(Debug, Default)]
pub struct Chunks(RefCell<Vec<Vec<u8>>>);

impl Chunks {
    /// An empty chunk to append frames to
    pub fn take(&self) -> Vec<u8> {
        // The chunk that came back last: its memory is most likely still in the processor's cache.
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives back a chunk that was written; one that has grown far beyond [`CHUNK_BYTES`] is freed
    pub fn put(&self, mut chunk: Vec<u8>) {
        let mut chunks = self.0.borrow_mut();
        // One large packet would otherwise leave a chunk behind that small ones never need.
        if chunks.len() < KEPT_MAX && chunk.capacity() <= 2 * CHUNK_BYTES {
            chunk.clear();
            chunks.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_chunks_are_bounded_in_number_and_size() {
        let chunks = Chunks::default();
        for _ in 0..2 * KEPT_MAX {
            chunks.put(Vec::with_capacity(10));
        }
        assert_eq!(chunks.0.borrow().len(), KEPT_MAX);
        chunks.take();
        chunks.put(Vec::with_capacity(1 << 20));
        assert_eq!(chunks.0.borrow().len(), KEPT_MAX - 1);
    }
}
