//! Bounds on what others may write, so that what is told of it fits into a status.

/// The text, cut to so many bytes; an ellipsis says that it was.
pub fn cut(text: String, most: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= most {
        return text;
    }
    let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}

/// A name of at most so many bytes that stands for the text: its beginning, its length and a hash of it.
pub fn stand_in(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    // FNV-1a: the same from one version of the operator to the next, since the status keeps it.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let rest = format!("… ({} bytes, {hash:016x})", text.len());
    format!("{}{rest}", &text[..text.floor_char_boundary(most.saturating_sub(rest.len()))])
}
