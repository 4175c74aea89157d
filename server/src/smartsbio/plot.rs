//! Plots of tables, as PNG or SVG: volcano, heatmap, principal components, Manhattan.
//!
//! The drawing is plotters' with neither fonts nor charts: an SVG carries its texts as texts, and a PNG gets them from
//! the small pixel font in `glyphs`, so that no installation needs a font.

use contract_smartsbio::types::{RenderOptions, RenderRequestOutputFormat, RenderRequestType};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::glyphs;
use super::sequence::Unusable;

/// Points and cells that are drawn at most; more could not be told apart.
const MAX_ROWS: usize = 50_000;

/// Rows and columns of a heatmap at most, and of the table whose principal components are looked for.
const MAX_MATRIX: usize = 500;

/// Room around the plot, in pixels.
const MARGIN: i32 = 50;

/// Significance that the lines of volcano and Manhattan plots mark: 0.05, and 5e-8 as is usual over a genome.
const SIGNIFICANT: f64 = 0.05;
const GENOME_WIDE: f64 = 5e-8;

const INK: RGBColor = RGBColor(40, 40, 40);
const QUIET: RGBColor = RGBColor(150, 150, 150);
const UP: RGBColor = RGBColor(200, 50, 50);
const DOWN: RGBColor = RGBColor(50, 80, 200);

/// The values of a line of CSV or TSV; quotes may hold a separator, and are doubled inside of quotes (RFC 4180).
pub(super) fn cells(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.trim_end_matches('\r').chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(cell) = cells.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            letter if letter == separator && !quoted => cells.push(String::new()),
            letter => cell.push(letter),
        }
    }
    cells
}

/// A table with the names of its columns.
#[derive(Debug)]
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Result<Self, Unusable> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let head = lines.next().ok_or_else(|| Unusable("The table is empty.".to_owned()))?;
        let separator = if head.contains('\t') { '\t' } else { ',' };
        let names = cells(head, separator);
        let rows: Vec<Vec<String>> = lines.take(MAX_ROWS).map(|line| cells(line, separator)).collect();
        if rows.is_empty() { Err(Unusable("The table has no rows.".to_owned())) } else { Ok(Self { names, rows }) }
    }

    /// The numbers of a column; `None` where a row has none.
    fn numbers(&self, column: usize) -> Vec<Option<f64>> {
        let number =
            |row: &Vec<String>| row.get(column)?.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        self.rows.iter().map(number).collect()
    }

    /// The column that the caller names, or the first whose name has one of these words in it.
    fn column(&self, wanted: Option<&str>, words: &[&str]) -> Result<usize, Unusable> {
        let plain = |name: &str| name.trim().to_lowercase();
        let at = match wanted {
            Some(wanted) => self.names.iter().position(|name| plain(name) == plain(wanted)),
            None => words.iter().find_map(|word| self.names.iter().position(|name| plain(name).contains(word))),
        };
        at.ok_or_else(|| match wanted {
            Some(wanted) => Unusable(format!("The table has no column {wanted:?}.")),
            None => Unusable(format!("The table has no column for {}; name one in the options.", words.join(" or "))),
        })
    }

    /// The columns that hold numbers only, with their names; at most as many as can be drawn.
    fn matrix(&self) -> Result<(Vec<&str>, Vec<Vec<f64>>), Unusable> {
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for (column, name) in self.names.iter().enumerate() {
            let numbers: Option<Vec<f64>> = self.numbers(column).into_iter().take(MAX_MATRIX).collect();
            if let Some(numbers) = numbers.filter(|_| columns.len() < MAX_MATRIX) {
                names.push(name.as_str());
                columns.push(numbers);
            }
        }
        if columns.is_empty() {
            return Err(Unusable("The table has no column of numbers.".to_owned()));
        }
        let rows = columns.first().map_or(0, Vec::len);
        let turned = (0..rows).map(|row| columns.iter().filter_map(|column| column.get(row).copied()).collect());
        Ok((names, turned.collect()))
    }
}

/// A point with its colour.
type Dot = (f64, f64, RGBColor);

/// What is drawn, in the table's own units.
enum Picture {
    Scatter { dots: Vec<Dot>, lines: Vec<f64>, x: String, y: String },
    Grid { cells: Vec<Vec<f64>>, columns: Vec<String> },
}

/// Draws a table's plot.
///
/// # Errors
/// [`Unusable`] when the table does not suit the plot, in words for who asked for it.
pub(super) fn draw(
    kind: RenderRequestType,
    content: &str,
    options: &RenderOptions,
    format: RenderRequestOutputFormat,
) -> Result<Vec<u8>, Unusable> {
    let picture = picture(kind, &Table::parse(content)?, options)?;
    let size = (u32::try_from(options.width).unwrap_or(800), u32::try_from(options.height).unwrap_or(600));
    let title = options.title.as_deref().unwrap_or_else(|| kind.as_str());
    let cannot = |error: String| Unusable(format!("The picture cannot be drawn: {error}."));
    match format {
        RenderRequestOutputFormat::Svg => {
            let mut text = String::new();
            {
                let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
                paint(&area, &picture, title, &|area, text, at| {
                    area.draw(&Text::new(text.to_owned(), at, ("sans-serif", 14).into_font().color(&INK)))
                        .map_err(|error| error.to_string())
                })
                .map_err(cannot)?;
                area.present().map_err(|error| cannot(error.to_string()))?;
            }
            Ok(text.into_bytes())
        }
        RenderRequestOutputFormat::Png => {
            let pixels = usize::try_from(size.0).unwrap_or(0) * usize::try_from(size.1).unwrap_or(0);
            let mut buffer = vec![0; pixels * 3];
            {
                let area = BitMapBackend::with_buffer(&mut buffer, size).into_drawing_area();
                paint(&area, &picture, title, &|area, text, (x, y)| {
                    for (dx, dy) in glyphs::pixels(text) {
                        area.draw_pixel((x + dx, y + dy), &INK).map_err(|error| error.to_string())?;
                    }
                    Ok(())
                })
                .map_err(cannot)?;
                area.present().map_err(|error| cannot(error.to_string()))?;
            }
            encode_png(&buffer, size).map_err(|error| cannot(error.to_string()))
        }
    }
}

fn encode_png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

fn picture(kind: RenderRequestType, table: &Table, options: &RenderOptions) -> Result<Picture, Unusable> {
    let (x, y) = (options.x.as_deref(), options.y.as_deref());
    let name = |column: usize| table.names.get(column).cloned().unwrap_or_default();
    match kind {
        RenderRequestType::Volcano => {
            let across = table.column(x, &["log2", "fold", "lfc"])?;
            let up = table.column(y, &["padj", "p_val", "pval", "p-val", "p val"])?;
            let dots = points(table.numbers(across), table.numbers(up))?;
            let coloured = dots.into_iter().map(|(change, p)| {
                let colour = match (p < SIGNIFICANT && change.abs() >= 1.0, change > 0.0) {
                    (true, true) => UP,
                    (true, false) => DOWN,
                    (false, _) => QUIET,
                };
                (change, minus_log(p), colour)
            });
            Ok(Picture::Scatter {
                dots: coloured.collect(),
                lines: vec![minus_log(SIGNIFICANT)],
                x: name(across),
                y: format!("-log10 {}", name(up)),
            })
        }
        RenderRequestType::Manhattan => {
            let up = table.column(y, &["p_val", "pval", "p-val", "p val", "padj"])?;
            let chromosome = table.column(x, &["chr"]).ok();
            let mut last = (String::new(), false);
            let dots = table.numbers(up).into_iter().zip(&table.rows).enumerate().filter_map(|(place, (p, row))| {
                let here = chromosome.and_then(|column| row.get(column)).cloned().unwrap_or_default();
                if here != last.0 {
                    last = (here, !last.1);
                }
                let p = p.filter(|p| (0.0..=1.0).contains(p))?;
                Some((place as f64, minus_log(p), if last.1 { DOWN } else { QUIET }))
            });
            let dots: Vec<Dot> = dots.collect();
            if dots.is_empty() {
                return Err(Unusable("No row has a probability from 0 to 1.".to_owned()));
            }
            Ok(Picture::Scatter {
                dots,
                lines: vec![minus_log(GENOME_WIDE)],
                x: chromosome.map_or_else(|| "row".to_owned(), name),
                y: format!("-log10 {}", name(up)),
            })
        }
        RenderRequestType::Heatmap => {
            let (names, cells) = table.matrix()?;
            Ok(Picture::Grid { cells, columns: names.into_iter().map(str::to_owned).collect() })
        }
        RenderRequestType::Pca => {
            let (_, rows) = table.matrix()?;
            let dots = components(rows)?.into_iter().map(|(x, y)| (x, y, DOWN)).collect();
            Ok(Picture::Scatter { dots, lines: Vec::new(), x: "PC1".to_owned(), y: "PC2".to_owned() })
        }
    }
}

/// Rows that have both numbers, with a probability as the second.
fn points(x: Vec<Option<f64>>, p: Vec<Option<f64>>) -> Result<Vec<(f64, f64)>, Unusable> {
    let both = x.into_iter().zip(p).filter_map(|(x, p)| Some((x?, p.filter(|p| (0.0..=1.0).contains(p))?)));
    let points: Vec<_> = both.collect();
    match points.is_empty() {
        true => Err(Unusable("No row has a number and a probability from 0 to 1.".to_owned())),
        false => Ok(points),
    }
}

/// A probability of zero is one too small to be written.
fn minus_log(p: f64) -> f64 {
    -p.max(f64::MIN_POSITIVE).log10()
}

/// The first two principal components of each row, by power iteration on the centred columns.
fn components(mut rows: Vec<Vec<f64>>) -> Result<Vec<(f64, f64)>, Unusable> {
    let width = rows.first().map_or(0, Vec::len);
    if width < 2 || rows.len() < 2 {
        return Err(Unusable("Principal components need two rows and two columns of numbers.".to_owned()));
    }
    for column in 0..width {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
        rows.iter_mut().for_each(|row| row[column] -= mean);
    }
    let first = direction(&rows, width);
    let along = |rows: &[Vec<f64>], axis: &[f64]| -> Vec<f64> { rows.iter().map(|row| dot(row, axis)).collect() };
    let x = along(&rows, &first);
    for (row, length) in rows.iter_mut().zip(&x) {
        row.iter_mut().zip(&first).for_each(|(value, part)| *value -= length * part);
    }
    let second = direction(&rows, width);
    Ok(x.into_iter().zip(along(&rows, &second)).collect())
}

/// The direction in which centred rows differ most. 100 rounds: each at least keeps what the one before has found.
fn direction(rows: &[Vec<f64>], width: usize) -> Vec<f64> {
    // Not a unit vector, which may stand at a right angle to what is looked for.
    let mut axis: Vec<f64> = (1..=width).map(|place| 1.0 + 1.0 / place as f64).collect();
    for _ in 0..100 {
        let mut next = vec![0.0; width];
        for row in rows {
            let length = dot(row, &axis);
            next.iter_mut().zip(row).for_each(|(sum, value)| *sum += length * value);
        }
        let length = dot(&next, &next).sqrt();
        if length < 1e-12 {
            break;
        }
        axis = next.into_iter().map(|value| value / length).collect();
    }
    let length = dot(&axis, &axis).sqrt().max(1e-12);
    axis.into_iter().map(|value| value / length).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Least and greatest of some numbers, apart from each other.
fn range(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = numbers.fold((f64::MAX, f64::MIN), |(least, most), n| (least.min(n), most.max(n)));
    if most > least { (least, most) } else { (least - 0.5, least + 0.5) }
}

/// Writes a text with its upper left corner at a place.
type Label<'a, DB> = &'a dyn Fn(&DrawingArea<DB, Shift>, &str, (i32, i32)) -> Result<(), String>;

fn paint<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    picture: &Picture,
    title: &str,
    label: Label<'_, DB>,
) -> Result<(), String> {
    let said = |error: DrawingAreaErrorKind<DB::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(said)?;
    let (width, height) = area.dim_in_pixel();
    let right = i32::try_from(width).unwrap_or(i32::MAX) - MARGIN / 2;
    let bottom = i32::try_from(height).unwrap_or(i32::MAX) - MARGIN;
    let (left, top) = (MARGIN, MARGIN / 2 + 10);
    label(area, title, (left, 10))?;
    match picture {
        Picture::Scatter { dots, lines, x, y } => {
            let across = range(dots.iter().map(|dot| dot.0));
            let up = range(dots.iter().map(|dot| dot.1).chain(lines.iter().copied()).chain([0.0]));
            let at = |x: f64, y: f64| {
                let part = |value: f64, (least, most): (f64, f64)| (value - least) / (most - least);
                let px = f64::from(left) + part(x, across) * f64::from(right - left);
                let py = f64::from(bottom) - part(y, up) * f64::from(bottom - top);
                (px.round() as i32, py.round() as i32)
            };
            for (x, y, colour) in dots {
                area.draw(&Circle::new(at(*x, *y), 3, colour.filled())).map_err(said)?;
            }
            for line in lines {
                area.draw(&PathElement::new([at(across.0, *line), at(across.1, *line)], UP)).map_err(said)?;
            }
            area.draw(&PathElement::new([(left, top), (left, bottom), (right, bottom)], INK)).map_err(said)?;
            label(area, &short(across.0), (left, bottom + 8))?;
            label(area, &short(across.1), (right - 30, bottom + 8))?;
            label(area, &short(up.0), (4, bottom - 8))?;
            label(area, &short(up.1), (4, top))?;
            label(area, x, ((left + right) / 2 - 30, bottom + 24))?;
            label(area, y, (left + 6, top - 8))
        }
        Picture::Grid { cells, columns } => {
            let (least, most) = range(cells.iter().flatten().copied());
            let rows = i32::try_from(cells.len()).unwrap_or(1).max(1);
            let across = i32::try_from(columns.len()).unwrap_or(1).max(1);
            for (row, numbers) in (0..).zip(cells) {
                for (column, number) in (0..).zip(numbers) {
                    let part = ((number - least) / (most - least)).clamp(0.0, 1.0);
                    // From blue over white to red.
                    let away = |from: f64| (255.0 * (1.0 - from)).round() as u8;
                    let colour = match part < 0.5 {
                        true => RGBColor(away(1.0 - part * 2.0), away(1.0 - part * 2.0), 255),
                        false => RGBColor(255, away(part * 2.0 - 1.0), away(part * 2.0 - 1.0)),
                    };
                    let corner = |column: i32, row: i32| {
                        (left + (right - left) * column / across, top + (bottom - top) * row / rows)
                    };
                    let cell = Rectangle::new([corner(column, row), corner(column + 1, row + 1)], colour.filled());
                    area.draw(&cell).map_err(said)?;
                }
            }
            // Names that fit: a letter is 6 pixels wide.
            let room = (right - left) / across;
            for (column, name) in (0..).zip(columns) {
                let letters = usize::try_from(room / 6).unwrap_or(0).saturating_sub(1);
                let name: String = name.chars().take(letters).collect();
                label(area, &name, (left + room * column, bottom + 8))?;
            }
            label(area, &format!("{} to {}", short(least), short(most)), (left, bottom + 24))
        }
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" | "" => "0".to_owned(),
        short => short.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GENES: &str = "gene,log2_fold_change,p_value\nBRCA1,2.4,0.0004\nTP53,-1.8,0.002\nEGFR,0.3,0.41\nMYC,1.1,0\n";

    fn options() -> RenderOptions {
        RenderOptions { title: Some("A & B".to_owned()), x: None, y: None, width: 300, height: 200 }
    }

    #[test]
    fn every_plot_is_a_real_png_and_a_real_svg() {
        let numbers = "sample,a,b,c\none,1,2,3\ntwo,2,4,1\nthree,5,0,2\n";
        let scan = "chrom,pos,p_value\n1,10,0.5\n1,20,0.00000001\n2,5,0.04\n";
        for (kind, table) in [
            (RenderRequestType::Volcano, GENES),
            (RenderRequestType::Heatmap, numbers),
            (RenderRequestType::Pca, numbers),
            (RenderRequestType::Manhattan, scan),
        ] {
            let file = draw(kind, table, &options(), RenderRequestOutputFormat::Png).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let frame = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((frame.width, frame.height), (300, 200));
            let colours: std::collections::BTreeSet<&[u8]> = pixels.chunks(3).collect();
            assert!(colours.len() >= 3, "{kind}: {colours:?}");

            let text =
                String::from_utf8(draw(kind, table, &options(), RenderRequestOutputFormat::Svg).unwrap()).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{kind}: {text}");
            assert!(text.contains("A &amp; B"), "{kind}: {text}");
        }
    }

    #[test]
    fn tables_that_do_not_suit_say_why() {
        let why =
            |kind, table: &str| draw(kind, table, &options(), RenderRequestOutputFormat::Svg).unwrap_err().to_string();
        assert_eq!(why(RenderRequestType::Volcano, ""), "The table is empty.");
        assert_eq!(
            why(RenderRequestType::Pca, "a\n1\n"),
            "Principal components need two rows and two columns of numbers."
        );
        assert_eq!(why(RenderRequestType::Heatmap, "a\nx\n"), "The table has no column of numbers.");
        assert!(why(RenderRequestType::Volcano, "a,b\n1,2\n").contains("no column for log2"));
        let named = RenderOptions { x: Some("nope".to_owned()), ..options() };
        let error = draw(RenderRequestType::Volcano, GENES, &named, RenderRequestOutputFormat::Svg).unwrap_err();
        assert_eq!(error.to_string(), "The table has no column \"nope\".");
    }

    #[test]
    fn components_find_the_line_that_points_lie_on() {
        let rows = (0..10).map(|i| vec![f64::from(i), 2.0 * f64::from(i), 0.0]).collect();
        let found = components(rows).unwrap();
        assert!((found[9].0 - found[0].0).abs() - 9.0 * 5.0_f64.sqrt() < 1e-6);
        assert!(found.iter().all(|(_, second)| second.abs() < 1e-6));
    }

    #[test]
    fn quotes_hold_separators() {
        assert_eq!(cells("a,\"b,\"\"c\"\"\",\r", ','), ["a", "b,\"c\"", ""]);
    }
}
