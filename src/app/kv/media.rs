//! Stores the media type of a value. The client flags of the item encode a common type. Another
//! type is stored before the value. So a memcached client sees most values unchanged.

/// The upper half of the flags of values that this module stored.
const MARK: u32 = 0x4b56_0000;
/// The lower half of the flags if the type is stored before the value.
const IN_FRONT: u32 = 0xffff;
/// The longest media type, with its parameters.
pub(super) const MEDIA_TYPE_MAX_BYTES: usize = 200;
/// The type of a value without a type.
const UNKNOWN: &str = "application/octet-stream";

/// Types by the lower half of the flags. Items hold these numbers: append only.
static TYPES: &[&str] = &[
    UNKNOWN,
    "text/plain",
    "text/plain; charset=utf-8",
    "application/json",
    "text/html",
    "text/html; charset=utf-8",
    "text/css",
    "text/javascript",
    "text/csv",
    "text/xml",
    "application/xml",
    "application/pdf",
    "application/x-www-form-urlencoded",
    "application/gzip",
    "application/zip",
    "application/cbor",
    "application/msgpack",
    "application/x-protobuf",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/svg+xml",
    "video/mp4",
    "audio/mpeg",
];

/// The flags of a value of this type, and whether the type must be stored before the value.
pub(super) fn flags(media_type: &str) -> (u32, bool) {
    match TYPES.iter().position(|known| *known == media_type) {
        Some(place) => (MARK | place as u32, false),
        None => (MARK | IN_FRONT, true),
    }
}

/// The type of a value with these flags, and the bytes that it takes before the value.
pub(super) fn read(flags: u32, value: &[u8]) -> (std::borrow::Cow<'static, str>, usize) {
    let known = TYPES.get((flags & 0xffff) as usize).filter(|_| flags & 0xffff_0000 == MARK);
    if let Some(known) = known {
        return ((*known).into(), 0);
    }
    let start = &value[..value.len().min(MEDIA_TYPE_MAX_BYTES + 1)];
    match memchr::memchr(b'\n', start) {
        Some(end) if flags == MARK | IN_FRONT => {
            (String::from_utf8_lossy(&start[..end]).into_owned().into(), end + 1)
        }
        _ => (UNKNOWN.into(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_back_as_they_went_in() {
        for media_type in TYPES.iter().copied().chain(["application/x-own; a=b", ""]) {
            let (flags, in_front) = flags(media_type);
            let front = if in_front { format!("{media_type}\n") } else { String::new() };
            let value = format!("{front}value\n");
            let (read, at) = read(flags, value.as_bytes());
            assert_eq!((&*read, &value[at..]), (media_type, "value\n"));
        }
        assert_eq!(read(0, b"a\nb"), (UNKNOWN.into(), 0));
        assert_eq!(read(7, b"a\nb"), (UNKNOWN.into(), 0));
    }
}
