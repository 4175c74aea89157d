//! Files for uploads: small, but real enough for a server that looks inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A file in a multipart body.
///
/// In a JSON value a file is a string, because that is what its schema asks for (`type: string, format: binary`): either
/// a `data:` URL that says everything, `data:application/pdf;name=report.pdf;base64,…`, or any other string. Any other
/// string becomes a file of the part's preferred type that has the string as its text; see [`FileValue::made`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileValue {
    /// The media type.
    pub media_type: String,
    /// The file name.
    pub name: String,
    /// The content.
    pub content: Vec<u8>,
}

impl FileValue {
    /// A file of a media type with a text in it. Types that are not known are octets: the text.
    pub fn made(media_type: &str, text: &str) -> FileValue {
        let (extension, content) = content(media_type, text);
        let media_type = match media_type {
            "" | "*/*" => "application/octet-stream",
            "text/*" => "text/plain",
            "image/*" => "image/png",
            "audio/*" => "audio/wav",
            "application/*" => "application/octet-stream",
            known => known,
        };
        FileValue { media_type: media_type.to_owned(), name: format!("sample.{extension}"), content }
    }

    /// The file as a string for a JSON value.
    pub fn to_text(&self) -> String {
        let name = utf8_percent_encode(&self.name, NON_ALPHANUMERIC);
        format!("data:{};name={name};base64,{}", self.media_type, STANDARD.encode(&self.content))
    }

    /// Reads [`FileValue::to_text`] back; `None` for every other string.
    pub fn from_text(text: &str) -> Option<FileValue> {
        let (head, content) = text.strip_prefix("data:")?.split_once(";base64,")?;
        let (media_type, name) = head.split_once(";name=")?;
        Some(FileValue {
            media_type: media_type.to_owned(),
            name: percent_decode_str(name).decode_utf8().ok()?.into_owned(),
            content: STANDARD.decode(content).ok()?,
        })
    }
}

fn content(media_type: &str, text: &str) -> (&'static str, Vec<u8>) {
    let bytes = |text: String| text.into_bytes();
    match media_type {
        "application/pdf" => ("pdf", pdf(text)),
        "image/png" | "image/*" => ("png", png()),
        "image/jpeg" | "image/jpg" => ("jpg", constant(JPEG)),
        "image/gif" => ("gif", constant(GIF)),
        "audio/wav" | "audio/x-wav" | "audio/*" | "audio/wave" => ("wav", wav()),
        "application/zip" | "application/x-zip-compressed" => ("zip", zip("sample.txt", text.as_bytes())),
        "application/json" => ("json", bytes(serde_json::json!({ "text": text }).to_string())),
        "application/x-ndjson" | "application/jsonl" => {
            ("jsonl", bytes(format!("{}\n", serde_json::json!({ "text": text }))))
        }
        "text/csv" => {
            ("csv", bytes(format!("name,text\nsample,\"{}\"\n", text.replace('"', "\"\"").replace(['\r', '\n'], " "))))
        }
        "text/markdown" => ("md", bytes(format!("# Sample\n\n{text}\n"))),
        "text/html" => ("html", bytes(format!("<!doctype html><title>Sample</title><p>{}</p>\n", escape_markup(text)))),
        "application/xml" | "text/xml" => ("xml", bytes(format!("<sample>{}</sample>\n", escape_markup(text)))),
        "image/svg+xml" => (
            "svg",
            bytes(format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><text>{}</text></svg>\n", escape_markup(text))),
        ),
        other if other.starts_with("text/") => ("txt", bytes(text.to_owned())),
        _ => ("bin", bytes(text.to_owned())),
    }
}

fn escape_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// One page with one line of text; what PDF cannot show in its standard encoding becomes a question mark.
fn pdf(text: &str) -> Vec<u8> {
    let shown: String = text
        .chars()
        .take(200)
        .map(|letter| match letter {
            '(' | ')' | '\\' => format!("\\{letter}"),
            ' '..='~' => letter.to_string(),
            _ => "?".to_owned(),
        })
        .collect();
    let page = format!("BT /F1 12 Tf 72 720 Td ({shown}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut out = String::from("%PDF-1.4\n");
    let mut places = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        places.push(out.len());
        out.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let table = out.len();
    out.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for place in places {
        out.push_str(&format!("{place:010} 00000 n \n"));
    }
    out.push_str(&format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1));
    out.into_bytes()
}

/// One grey pixel.
fn png() -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        out.extend((data.len() as u32).to_be_bytes());
        let body = [kind.as_slice(), data].concat();
        out.extend(&body);
        out.extend(crc32(&body).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    // A stored deflate block with the filter byte and the pixel, and their Adler-32.
    let pixels = [0u8, 0x80];
    let (mut a, mut b) = (1u32, 0u32);
    for byte in pixels {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let mut data = vec![0x78, 0x01, 0x01, 2, 0, 0xfd, 0xff];
    data.extend(pixels);
    data.extend(((b << 16) | a).to_be_bytes());
    chunk(b"IDAT", &data);
    chunk(b"IEND", &[]);
    out
}

/// Eight samples of silence.
fn wav() -> Vec<u8> {
    let samples = [0u8; 16];
    let mut out = b"RIFF".to_vec();
    out.extend((36 + samples.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(8_000u32.to_le_bytes());
    out.extend(16_000u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend((samples.len() as u32).to_le_bytes());
    out.extend(samples);
    out
}

/// An archive with one stored file.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    // 1980-01-01, the first day that the format knows.
    const DATE: u16 = 0x21;
    let mut shared = Vec::new();
    shared.extend([10u16, 0, 0, 0, DATE].iter().flat_map(|field| field.to_le_bytes()));
    shared.extend(crc32(content).to_le_bytes());
    shared.extend((content.len() as u32).to_le_bytes());
    shared.extend((content.len() as u32).to_le_bytes());
    shared.extend((name.len() as u16).to_le_bytes());
    shared.extend(0u16.to_le_bytes());
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(&shared);
    out.extend(name.as_bytes());
    out.extend(content);
    let directory = out.len() as u32;
    out.extend(b"PK\x01\x02");
    out.extend(10u16.to_le_bytes());
    out.extend(&shared);
    out.extend([0u8; 10]);
    out.extend(0u32.to_le_bytes());
    out.extend(name.as_bytes());
    let size = out.len() as u32 - directory;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend(size.to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

/// ISO 3309, as PNG and ZIP use it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn constant(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap_or_default()
}

/// One grey pixel, baseline.
const JPEG: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////\
                    ////////////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z";

/// One white pixel.
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        for kind in [
            "application/pdf",
            "image/png",
            "image/jpeg",
            "image/gif",
            "text/csv",
            "application/zip",
            "x/y",
            "audio/wav",
        ] {
            let file = FileValue::made(kind, "a (sample) with \"quotes\" and ünïcode");
            assert!(!file.content.is_empty(), "{kind}");
            assert_eq!(FileValue::from_text(&file.to_text()), Some(file));
        }
        assert_eq!(FileValue::from_text("data: nothing of the kind"), None);
    }

    #[test]
    fn files_start_as_their_type_does() {
        assert!(FileValue::made("application/pdf", "x").content.starts_with(b"%PDF-1.4"));
        assert!(FileValue::made("image/png", "x").content.starts_with(b"\x89PNG"));
        assert!(FileValue::made("image/jpeg", "x").content.starts_with(b"\xff\xd8\xff"));
        assert!(FileValue::made("image/gif", "x").content.starts_with(b"GIF89a"));
        assert!(FileValue::made("application/zip", "x").content.starts_with(b"PK\x03\x04"));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
