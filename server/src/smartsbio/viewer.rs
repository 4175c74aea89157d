//! The page behind a viewer link: a file as a table, as sequences, or as its text.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

/// Bytes of a file that are shown; a browser makes no sense of more.
pub(super) const MAX_SHOWN: usize = 512 * 1024;

/// Rows of a table that are shown.
const MAX_ROWS: usize = 2_000;

/// The page.
pub(super) fn page(name: &str, format: &str, head: &[u8], size: u64) -> Response {
    let text = String::from_utf8_lossy(head);
    let body = match format {
        "csv" => table(&text, if text.lines().next().is_some_and(|line| line.contains('\t')) { '\t' } else { ',' }),
        "vcf" => table(&text.lines().filter(|line| !line.starts_with("##")).collect::<Vec<_>>().join("\n"), '\t'),
        "fasta" => sequences(&text),
        // Compressed alignments are no text; their header is for programs.
        "bam" if head.starts_with(b"BAM\x01") || head.starts_with(&[0x1f, 0x8b]) => {
            "<p>Alignments in binary form.</p>".to_owned()
        }
        _ => format!("<pre>{}</pre>", escaped(&text)),
    };
    let shown = u64::try_from(head.len()).unwrap_or(u64::MAX);
    let rest = match size > shown {
        true => format!("<p>The first {shown} of {size} bytes.</p>"),
        false => String::new(),
    };
    let title = escaped(name);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{rest}{body}</html>"
    );
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // What stands in the file is its owner's; nothing of it may run or load anything.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn table(text: &str, separator: char) -> String {
    let mut html = String::from("<table border=\"1\">");
    for (number, line) in text.lines().take(MAX_ROWS).enumerate() {
        let cell = if number == 0 { "th" } else { "td" };
        html.push_str("<tr>");
        for value in super::plot::cells(line, separator) {
            html.push_str(&format!("<{cell}>{}</{cell}>", escaped(&value)));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table>");
    html
}

fn sequences(text: &str) -> String {
    let mut html = String::new();
    for record in text.split('>').filter(|record| !record.trim().is_empty()).take(MAX_ROWS) {
        let (name, letters) = record.split_once('\n').unwrap_or((record, ""));
        html.push_str(&format!("<h2>{}</h2><pre>{}</pre>", escaped(name), escaped(letters)));
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn html(format: &str, content: &str) -> String {
        let response = page("a<b>.csv", format, content.as_bytes(), content.len() as u64 + 1);
        assert_eq!(response.headers()["content-security-policy"], "default-src 'none'; sandbox");
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn files_are_shown_and_never_run() {
        let table = html("csv", "gene,\"p, value\"\n<script>,1").await;
        assert!(table.contains("<th>p, value</th>") && table.contains("<td>&lt;script&gt;</td>"), "{table}");
        assert!(table.contains("<h1>a&lt;b&gt;.csv</h1>") && table.contains("The first"), "{table}");
        let variants = html("vcf", "##fileformat=VCFv4.2\n#CHROM\tPOS\n1\t100").await;
        assert!(variants.contains("<th>#CHROM</th>") && !variants.contains("fileformat"), "{variants}");
        let sequences = html("fasta", ">one\nACGT\n>two\nGG").await;
        assert!(sequences.contains("<h2>two</h2><pre>GG</pre>"), "{sequences}");
    }
}
