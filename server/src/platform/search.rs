//! Full-text ranking over pieces of text, always within named scopes (a tenant's sources), behind an interface that
//! shows no SQL dialect. The words are made here and not by the database, so that what matches does not depend on
//! which database it is, and text from outside never reaches a query language.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::store::{Store, StoreError, Write, column, placeholders};

/// Distinct words of a query that take part. Questions have fewer; a pasted page has more and gains nothing by them.
const MAX_QUERY_TERMS: usize = 48;

/// Pieces that full-text ranking hands to the final score, per piece asked for.
const CANDIDATES_PER_HIT: usize = 8;

/// Items that one statement removes; databases bound the number of a statement's values.
const ITEMS_PER_STATEMENT: usize = 500;

/// How much a first mention of a word is worth against endless mentions: `1 / (1 + 0.2)`, five sixths.
const SATURATION: f64 = 0.2;

/// Words that say nothing about a subject. They count only in a query that has no others.
const STOP_WORDS: &[&str] = &[
    "a", "about", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "have", "how", "i",
    "if", "in", "is", "it", "me", "my", "of", "on", "or", "our", "please", "tell", "that", "the", "there", "this",
    "to", "was", "we", "what", "when", "where", "which", "who", "why", "will", "with", "you", "your",
];

/// One piece of text to be found.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The id by which a hit names it; unique over all scopes.
    pub item: &'a str,
    /// The scope that a search must name to see it.
    pub scope: &'a str,
    /// The text.
    pub text: &'a str,
}

/// A piece that matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The id under which it was put in.
    pub item: String,
    /// Share of the query's words that the piece has, repeated mentions counting a little more: 0 (none) to 1.
    pub score: f64,
}

/// Adds entries, replacing any with the same ids.
///
/// # Errors
/// [`StoreError::Sql`] when a statement fails.
pub async fn put(write: &mut Write, entries: &[Entry<'_>]) -> Result<(), StoreError> {
    for entry in entries {
        remove_item(write, entry.item).await?;
    }
    let row = sqlx::query("SELECT COALESCE(MAX(row_id), 0) FROM search_items").fetch_one(write.run()).await?;
    // The write transaction excludes other writers, so counting up from the maximum gives nobody else's number.
    let mut row_id: i64 = column(&row, 0)?;
    for entry in entries {
        row_id += 1;
        sqlx::query("INSERT INTO search_items (item, scope, row_id) VALUES ($1, $2, $3)")
            .bind(entry.item)
            .bind(entry.scope)
            .bind(row_id)
            .execute(write.run())
            .await?;
        sqlx::query("INSERT INTO search_index (rowid, scope, terms, item) VALUES ($1, $2, $3, $4)")
            .bind(row_id)
            .bind(scope_word(entry.scope))
            .bind(words(entry.text).collect::<Vec<_>>().join(" "))
            .bind(entry.item)
            .execute(write.run())
            .await?;
    }
    Ok(())
}

/// Removes one entry; nothing happens when it is not there.
///
/// # Errors
/// [`StoreError::Sql`] when a statement fails.
pub async fn remove_item(write: &mut Write, item: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM search_index WHERE rowid IN (SELECT row_id FROM search_items WHERE item = $1)")
        .bind(item)
        .execute(write.run())
        .await?;
    sqlx::query("DELETE FROM search_items WHERE item = $1").bind(item).execute(write.run()).await?;
    Ok(())
}

/// Removes entries; those that are not there make no difference.
///
/// # Errors
/// [`StoreError::Sql`] when a statement fails.
pub async fn remove_items(write: &mut Write, items: &[String]) -> Result<(), StoreError> {
    for part in items.chunks(ITEMS_PER_STATEMENT) {
        let list = placeholders(1, part.len());
        for sql in [
            format!("DELETE FROM search_index WHERE rowid IN (SELECT row_id FROM search_items WHERE item IN ({list}))"),
            format!("DELETE FROM search_items WHERE item IN ({list})"),
        ] {
            let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql));
            for item in part {
                statement = statement.bind(item.as_str());
            }
            statement.execute(write.run()).await?;
        }
    }
    Ok(())
}

/// Removes every entry of a scope.
///
/// # Errors
/// [`StoreError::Sql`] when a statement fails.
pub async fn remove_scope(write: &mut Write, scope: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM search_index WHERE rowid IN (SELECT row_id FROM search_items WHERE scope = $1)")
        .bind(scope)
        .execute(write.run())
        .await?;
    sqlx::query("DELETE FROM search_items WHERE scope = $1").bind(scope).execute(write.run()).await?;
    Ok(())
}

/// The best `limit` pieces of the scopes for a query in anybody's words, best first; ties in the order of their ids,
/// so that the same question over the same pieces has the same answer. No scopes, no words or no match: no hits.
///
/// # Errors
/// [`StoreError::Sql`] when the search fails.
pub async fn find(store: &Store, scopes: &[String], query: &str, limit: usize) -> Result<Vec<Hit>, StoreError> {
    let terms = query_terms(query);
    if scopes.is_empty() || terms.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    // The only words in this expression are ours: digests, and runs of letters and digits in quotation marks.
    let scope_words = scopes.iter().map(|scope| quoted(&scope_word(scope))).collect::<Vec<_>>().join(" OR ");
    let term_words = terms.iter().map(|term| quoted(term)).collect::<Vec<_>>().join(" OR ");
    let expression = format!("scope : ({scope_words}) AND terms : ({term_words})");
    let candidates = i64::try_from(limit.saturating_mul(CANDIDATES_PER_HIT).max(40)).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "SELECT item, terms FROM search_index WHERE search_index MATCH $1 \
         ORDER BY bm25(search_index, 0.0, 1.0), rowid LIMIT $2",
    )
    .bind(expression)
    .bind(candidates)
    .fetch_all(store.reader())
    .await?;

    // bm25 chooses the candidates; its figures depend on every tenant's text, so neither the score that is shown
    // nor the final order is made of them.
    let mut hits = rows
        .iter()
        .map(|row| {
            let indexed: &str = column(row, 1)?;
            Ok(Hit { item: column(row, 0)?, score: score(&terms, indexed.split(' ')) })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.item.cmp(&b.item)));
    hits.truncate(limit);
    Ok(hits)
}

/// How well a text answers a query, by the same measure that ranks hits: 0 to 1.
#[must_use]
pub fn similarity(query: &str, text: &str) -> f64 {
    let found: Vec<String> = words(text).collect();
    score(&query_terms(query), found.iter().map(String::as_str))
}

fn score<'a>(terms: &BTreeSet<String>, found: impl Iterator<Item = &'a str>) -> f64 {
    let mut mentions: HashMap<&str, f64> = HashMap::new();
    for word in found {
        if terms.contains(word) {
            *mentions.entry(word).or_default() += 1.0;
        }
    }
    // Summed in the order of the terms, because the order of a hash map would change the last digits from run to run.
    let sum: f64 =
        terms.iter().filter_map(|term| mentions.get(term.as_str())).map(|count| count / (count + SATURATION)).sum();
    if terms.is_empty() { 0.0 } else { (sum / to_f64(terms.len())).clamp(0.0, 1.0) }
}

/// The distinct words of a query that are worth looking for.
fn query_terms(query: &str) -> BTreeSet<String> {
    let runs = || query.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty());
    // Judged as written: cut to "thi", "this" would pass for a word of its own.
    let meaningful = |run: &&str| !STOP_WORDS.contains(&run.to_lowercase().as_str());
    let only_stop_words = !runs().any(|run| meaningful(&run));
    let mut chosen = BTreeSet::new();
    for word in runs().filter(|run| only_stop_words || meaningful(run)).flat_map(words) {
        if chosen.len() == MAX_QUERY_TERMS {
            break;
        }
        chosen.insert(word);
    }
    chosen
}

/// The words of a text as they are indexed: lower case, split at everything that is neither letter nor digit, English
/// plurals cut, and scripts that write without spaces cut into pairs.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).flat_map(|run| {
        let lower = run.to_lowercase();
        if lower.chars().any(is_unspaced) {
            let characters: Vec<char> = lower.chars().collect();
            match characters.len() {
                1 => vec![lower],
                _ => characters.windows(2).map(|pair| pair.iter().collect()).collect(),
            }
        } else {
            vec![singular(&lower)]
        }
    })
}

/// Han, Hiragana, Katakana, Hangul and Thai: words stand side by side without a space.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0E7F | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF | 0x20000..=0x2FA1F)
}

/// Harman's S-stemmer: the weakest stemming there is, which makes "refunds" meet "refund" and hardly ever errs.
fn singular(word: &str) -> String {
    if word.len() <= 3 || !word.is_ascii() {
        return word.to_owned();
    }
    if let Some(stem) = word.strip_suffix("ies") {
        if !stem.ends_with(['a', 'e']) {
            return format!("{stem}y");
        }
    } else if let Some(stem) = word.strip_suffix("es") {
        if !stem.ends_with(['a', 'e', 'o']) {
            return format!("{stem}e");
        }
    } else if let Some(stem) = word.strip_suffix('s')
        && !stem.ends_with(['u', 's'])
    {
        return stem.to_owned();
    }
    word.to_owned()
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', ""))
}

/// A scope as one word of the index. A digest, because a scope may hold characters that the index would split at.
fn scope_word(scope: &str) -> String {
    let digest = Sha256::digest(scope.as_bytes());
    let mut word = String::with_capacity(33);
    word.push('s');
    for byte in digest.iter().take(16) {
        let _ = write!(word, "{byte:02x}");
    }
    word
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn store_with(entries: &[Entry<'_>]) -> Store {
        let store = Store::open("sqlite::memory:", &[]).await.unwrap();
        let mut write = store.write().await.unwrap();
        put(&mut write, entries).await.unwrap();
        write.commit().await.unwrap();
        store
    }

    fn ids(hits: &[Hit]) -> Vec<&str> {
        hits.iter().map(|hit| hit.item.as_str()).collect()
    }

    const REFUND: Entry<'_> = Entry { item: "1", scope: "a", text: "Refunds are paid within 14 days of the return." };
    const SHIPPING: Entry<'_> = Entry { item: "2", scope: "a", text: "Shipping takes three days; returns are free." };
    const FOREIGN: Entry<'_> = Entry { item: "3", scope: "b", text: "Refund refund refund: our secret refund policy." };

    #[tokio::test]
    async fn ranks_by_what_the_question_asks_for_within_the_scopes_only() {
        let store = store_with(&[REFUND, SHIPPING, FOREIGN]).await;
        let hits = find(&store, &["a".into()], "When is my refund paid?", 5).await.unwrap();
        assert_eq!(ids(&hits), ["1"]);
        assert!(hits[0].score > 0.8, "{hits:?}");
        let both = find(&store, &["a".into()], "return", 5).await.unwrap();
        assert_eq!(ids(&both), ["1", "2"]);
        assert!(find(&store, &[], "refund", 5).await.unwrap().is_empty());
        assert_eq!(ids(&find(&store, &["b".into(), "a".into()], "refund", 1).await.unwrap()), ["3"]);
    }

    #[tokio::test]
    async fn no_text_is_query_syntax() {
        let store = store_with(&[REFUND, FOREIGN]).await;
        for hostile in [
            "\"",
            "*",
            "refund\" OR scope:\"b",
            "terms : refund",
            "NEAR(refund paid)",
            "a AND NOT b",
            "^refund",
            "()",
            "-refund",
            "{scope terms}: x",
            "'; DROP TABLE search_items; --",
            "\0refund\0",
            "refund*",
            "\u{FEFF}refund",
            "AND",
            "%_\\",
        ] {
            let hits = find(&store, &["a".into()], hostile, 5).await.unwrap();
            assert!(hits.iter().all(|hit| hit.item == "1"), "{hostile:?} gave {hits:?}");
        }
        let page = "word and another ".repeat(5_000);
        assert!(find(&store, &["a".into()], &page, 5).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn entries_are_replaced_and_removed() {
        let store = store_with(&[REFUND, SHIPPING, FOREIGN]).await;
        let mut write = store.write().await.unwrap();
        put(&mut write, &[Entry { item: "1", scope: "a", text: "Nothing of the kind." }]).await.unwrap();
        remove_scope(&mut write, "b").await.unwrap();
        write.commit().await.unwrap();
        let all = ["a".to_owned(), "b".to_owned()];
        assert!(find(&store, &all, "refund", 5).await.unwrap().is_empty());
        assert_eq!(ids(&find(&store, &all, "kind nothing", 5).await.unwrap()), ["1"]);
        let mut write = store.write().await.unwrap();
        let mut items: Vec<String> = (10..1_500).map(|n| n.to_string()).collect();
        items.push("1".into());
        remove_items(&mut write, &items).await.unwrap();
        write.commit().await.unwrap();
        assert!(find(&store, &all, "kind nothing", 5).await.unwrap().is_empty());
        assert_eq!(ids(&find(&store, &all, "shipping", 5).await.unwrap()), ["2"]);
    }

    #[test]
    fn words_are_cut_alike_on_both_sides() {
        assert_eq!(
            words("Policies, RETURNS; boxes glass e-mail").collect::<Vec<_>>(),
            ["policy", "return", "boxe", "glass", "e", "mail"]
        );
        assert_eq!(words("東京都").collect::<Vec<_>>(), ["東京", "京都"]);
        assert_eq!(query_terms("What is this?").len(), 3, "a query of stop words is still a query");
        assert!(similarity("refund days", "refunds after 3 days") > 0.8);
        assert!(similarity("", "x").abs() < f64::EPSILON);
    }
}
