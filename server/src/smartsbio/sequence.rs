//! What the built-in tools compute: nucleotide sequences, FASTA and FASTQ.

use serde_json::{Map, Value, json};

/// Bases and the ambiguity codes of IUPAC, upper case.
const LETTERS: &[u8] = b"ACGTUNRYSWKMBDHV";

/// Why a tool gives no output.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// A sequence as the tools read it: upper case, without white space.
pub(super) fn letters(text: &str) -> Result<Vec<u8>, Unusable> {
    let letters: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).map(|b| b.to_ascii_uppercase()).collect();
    match letters.iter().find(|letter| !LETTERS.contains(letter)) {
        Some(_) => Err(Unusable("The sequence has letters that are no nucleotides.".to_owned())),
        None => Ok(letters),
    }
}

/// Length, composition and GC content.
pub(super) fn statistics(sequence: &[u8]) -> Map<String, Value> {
    let mut counts = Map::new();
    for letter in LETTERS {
        let count = sequence.iter().filter(|one| *one == letter).count();
        if count > 0 {
            counts.insert(char::from(*letter).to_string(), count.into());
        }
    }
    object(json!({
        "length": sequence.len(),
        "gc_content": rounded(gc(sequence)),
        "composition": counts,
        "reverse_complement": text(&reverse_complement(sequence)),
    }))
}

/// The part of G and C among the bases that are known, from 0 to 1.
fn gc(sequence: &[u8]) -> f64 {
    let strong = sequence.iter().filter(|base| matches!(base, b'G' | b'C' | b'S')).count();
    let known = sequence.iter().filter(|base| matches!(base, b'A' | b'C' | b'G' | b'T' | b'U' | b'S' | b'W')).count();
    if known == 0 { 0.0 } else { strong as f64 / known as f64 }
}

pub(super) fn reverse_complement(sequence: &[u8]) -> Vec<u8> {
    let complement = |base: &u8| match base {
        b'A' => b'T',
        b'T' | b'U' => b'A',
        b'G' => b'C',
        b'C' => b'G',
        b'R' => b'Y',
        b'Y' => b'R',
        b'K' => b'M',
        b'M' => b'K',
        b'B' => b'V',
        b'V' => b'B',
        b'D' => b'H',
        b'H' => b'D',
        other => *other,
    };
    sequence.iter().rev().map(complement).collect()
}

/// The standard genetic code (NCBI translation table 1); `X` for a codon that is not known whole.
fn amino_acid(codon: &[u8]) -> u8 {
    const TABLE: &[u8; 64] = b"FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG";
    let index = |base: &u8| match base {
        b'T' | b'U' => Some(0),
        b'C' => Some(1),
        b'A' => Some(2),
        b'G' => Some(3),
        _ => None,
    };
    let number = codon.iter().try_fold(0_usize, |number, base| Some(number * 4 + index(base)?));
    number.filter(|_| codon.len() == 3).and_then(|number| TABLE.get(number)).copied().unwrap_or(b'X')
}

/// The protein of a reading frame, 1 to 3; stops are `*`.
pub(super) fn translate(sequence: &[u8], frame: usize) -> String {
    let from = sequence.get(frame.saturating_sub(1)..).unwrap_or_default();
    text(&from.chunks_exact(3).map(amino_acid).collect::<Vec<_>>())
}

/// Open reading frames of both strands, from a start codon to its stop, the longest first.
pub(super) fn open_frames(sequence: &[u8], least: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for (strand, letters) in [("+", sequence.to_vec()), ("-", reverse_complement(sequence))] {
        for frame in 0..3 {
            let codons: Vec<u8> = letters.get(frame..).unwrap_or_default().chunks_exact(3).map(amino_acid).collect();
            let mut start = None;
            for (place, acid) in codons.iter().enumerate() {
                match (acid, start) {
                    (b'M', None) => start = Some(place),
                    (b'*', Some(from)) => {
                        if place - from >= least {
                            let protein = text(codons.get(from..place).unwrap_or_default());
                            found.push((place - from, strand, frame + from * 3 + 1, protein));
                        }
                        start = None;
                    }
                    _ => {}
                }
            }
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    found
        .into_iter()
        .map(|(length, strand, start, protein)| {
            json!({"strand": strand, "start": start, "length": length, "protein": protein})
        })
        .collect()
}

/// What an alignment earns and costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores {
    pub(super) matching: i64,
    pub(super) mismatch: i64,
    pub(super) gap: i64,
}

/// Global alignment (Needleman and Wunsch, 1970) with a gap cost in proportion to its length.
pub(super) fn align(first: &[u8], second: &[u8], scores: Scores) -> Map<String, Value> {
    let width = second.len() + 1;
    let mut table = vec![0_i64; (first.len() + 1) * width];
    let pair = |a: u8, b: u8| if a == b { scores.matching } else { scores.mismatch };
    for row in 0..=first.len() {
        for place in 0..width {
            table[row * width + place] = match (row, place) {
                (0, gaps) | (gaps, 0) => scores.gap * i64::try_from(gaps).unwrap_or(i64::MAX),
                _ => {
                    let aligned = table[(row - 1) * width + place - 1] + pair(first[row - 1], second[place - 1]);
                    let left = table[row * width + place - 1] + scores.gap;
                    let up = table[(row - 1) * width + place] + scores.gap;
                    aligned.max(left).max(up)
                }
            };
        }
    }
    let (mut row, mut place) = (first.len(), second.len());
    let (mut above, mut below, mut matches) = (Vec::new(), Vec::new(), 0_usize);
    while row > 0 || place > 0 {
        let here = table[row * width + place];
        if row > 0
            && place > 0
            && here == table[(row - 1) * width + place - 1] + pair(first[row - 1], second[place - 1])
        {
            matches += usize::from(first[row - 1] == second[place - 1]);
            above.push(first[row - 1]);
            below.push(second[place - 1]);
            row -= 1;
            place -= 1;
        } else if row > 0 && here == table[(row - 1) * width + place] + scores.gap {
            above.push(first[row - 1]);
            below.push(b'-');
            row -= 1;
        } else {
            above.push(b'-');
            below.push(second[place - 1]);
            place -= 1;
        }
    }
    above.reverse();
    below.reverse();
    let identity = if above.is_empty() { 0.0 } else { matches as f64 / above.len() as f64 };
    object(json!({
        "score": table.last().copied().unwrap_or_default(),
        "identity": rounded(identity),
        "first": text(&above),
        "second": text(&below),
    }))
}

/// The records of a FASTA text: name and sequence.
pub(super) fn fasta(content: &str) -> Result<Vec<(String, Vec<u8>)>, Unusable> {
    if !content.trim_start().starts_with('>') {
        return Err(Unusable("The file is not FASTA: it does not begin with `>`.".to_owned()));
    }
    content
        .split('>')
        .filter(|record| !record.trim().is_empty())
        .map(|record| {
            let (name, sequence) = record.split_once('\n').unwrap_or((record, ""));
            Ok((name.split_whitespace().next().unwrap_or_default().to_owned(), letters(sequence)?))
        })
        .collect()
}

/// Number, lengths and GC content of the records of a FASTA file.
pub(super) fn fasta_statistics(content: &str) -> Result<Map<String, Value>, Unusable> {
    let records = fasta(content)?;
    let lengths: Vec<usize> = records.iter().map(|(_, sequence)| sequence.len()).collect();
    let all: Vec<u8> = records.iter().flat_map(|(_, sequence)| sequence.iter().copied()).collect();
    Ok(object(json!({
        "sequences": records.len(),
        "total_length": all.len(),
        "shortest": lengths.iter().min(),
        "longest": lengths.iter().max(),
        "gc_content": rounded(gc(&all)),
    })))
}

/// What quality control says of reads.
#[derive(Debug, Default)]
pub(super) struct Quality {
    reads: u64,
    bases: u64,
    strong: u64,
    /// By place in the read: sum of Phred scores and number of bases.
    places: Vec<(u64, u64)>,
}

/// Reads of a FASTQ text (four lines each, Phred+33), counted.
pub(super) fn quality(content: &str) -> Result<Quality, Unusable> {
    let broken = |number: u64| Unusable(format!("Read {} of the file is not FASTQ.", number + 1));
    let mut quality = Quality::default();
    let mut lines = content.lines();
    while let Some(head) = lines.next() {
        if head.is_empty() {
            continue;
        }
        let (bases, plus, scores) = (lines.next(), lines.next(), lines.next());
        let (Some(bases), Some(plus), Some(scores)) = (bases, plus, scores) else { return Err(broken(quality.reads)) };
        if !head.starts_with('@') || !plus.starts_with('+') || bases.len() != scores.len() {
            return Err(broken(quality.reads));
        }
        quality.reads += 1;
        for (place, (base, score)) in bases.bytes().zip(scores.bytes()).enumerate() {
            if !(33..=126).contains(&score) {
                return Err(broken(quality.reads - 1));
            }
            if quality.places.len() <= place {
                quality.places.push((0, 0));
            }
            quality.bases += 1;
            quality.strong += u64::from(matches!(base.to_ascii_uppercase(), b'G' | b'C'));
            quality.places[place].0 += u64::from(score - 33);
            quality.places[place].1 += 1;
        }
    }
    if quality.reads == 0 { Err(Unusable("The file has no reads.".to_owned())) } else { Ok(quality) }
}

impl Quality {
    /// The figures of the whole file.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let scores = self.places.iter().map(|(sum, _)| sum).sum();
        object(json!({
            "reads": self.reads,
            "bases": self.bases,
            "gc_content": rounded(share(self.strong, self.bases)),
            "mean_quality": rounded(share(scores, self.bases)),
            "longest_read": self.places.len(),
        }))
    }

    /// The mean quality by place in the read, as CSV.
    pub(super) fn by_place(&self) -> String {
        let mut text = String::from("position,mean_quality,bases\n");
        for (place, (sum, count)) in self.places.iter().enumerate() {
            text.push_str(&format!("{},{},{count}\n", place + 1, rounded(*sum as f64 / (*count).max(1) as f64)));
        }
        text
    }
}

fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

fn text(letters: &[u8]) -> String {
    letters.iter().map(|letter| char::from(*letter)).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_counted_turned_and_translated() {
        let sequence = letters("atg gcc\nTAA").unwrap();
        let statistics = statistics(&sequence);
        assert_eq!(statistics["length"], 9);
        assert_eq!(statistics["gc_content"], 0.4444);
        assert_eq!(statistics["reverse_complement"], "TTAGGCCAT");
        assert_eq!(translate(&sequence, 1), "MA*");
        assert_eq!(translate(&sequence, 2), "WP");
        assert!(letters("ACGX!").is_err());
        let frames = open_frames(&letters("CCATGGCCAAATAGG").unwrap(), 2);
        assert_eq!(frames, [json!({"strand": "+", "start": 3, "length": 3, "protein": "MAK"})]);
    }

    #[test]
    fn alignments_are_the_best_ones() {
        let scores = Scores { matching: 1, mismatch: -1, gap: -1 };
        let aligned = align(b"GATTACA", b"GCATGCT", scores);
        assert_eq!(aligned["score"], 0, "the textbook example");
        assert_eq!(align(b"", b"AC", scores)["first"], "--");
        assert_eq!(align(b"ACGT", b"ACGT", scores)["identity"], 1.0);
    }

    #[test]
    fn files_are_read_or_refused_with_the_place() {
        let statistics = fasta_statistics(">one x\nACGT\nAC\n>two\nGG\n").unwrap();
        assert_eq!(
            (&statistics["sequences"], &statistics["longest"], &statistics["total_length"]),
            (&json!(2), &json!(6), &json!(8))
        );
        assert!(fasta("ACGT").is_err());
        let quality = quality("@r1\nACGT\n+\nIIII\n@r2\nGG\n+\n!I\n").unwrap();
        assert_eq!(quality.summary()["mean_quality"], 33.3333);
        assert_eq!(quality.by_place(), "position,mean_quality,bases\n1,20,2\n2,40,2\n3,40,1\n4,40,1\n");
        assert_eq!(super::quality("@r1\nACGT\n+\nIII\n").unwrap_err().to_string(), "Read 1 of the file is not FASTQ.");
    }
}
