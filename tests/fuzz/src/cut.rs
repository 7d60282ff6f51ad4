//! Where a stream is cut. The places come from the bytes themselves, so that an input is nothing but a stream: seeds are readable, and
//! any change of a byte cuts elsewhere.

/// The bytes in pieces of up to 32 bytes.
pub fn anywhere(bytes: &[u8]) -> Vec<&[u8]> {
    // FNV-1a; what matters is only that every byte counts.
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = ((state >> 40) as usize % 33).min(rest.len());
        pieces.push(&rest[..at]);
        rest = &rest[at..];
    }
    pieces
}

/// Every byte by itself.
pub fn everywhere(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}
