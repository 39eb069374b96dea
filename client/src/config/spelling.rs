//! What was meant, perhaps.

/// How alike words must be to be worth a suggestion, as clap has it.
const ALIKE: f64 = 0.7;

/// The known word that is most like this one, if any is.
pub(super) fn nearest<'a, T: AsRef<str>>(
    word: &str,
    known: impl IntoIterator<Item = &'a T>,
) -> Option<&'a T> {
    known
        .into_iter()
        .map(|known| (strsim::jaro(word, known.as_ref()), known))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// `; did you mean "web"?`, or nothing.
pub(super) fn suggested(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |word| format!("; did you mean {word:?}?"))
}

/// `web, api`
pub(super) fn list<'a, T: AsRef<str> + 'a>(words: impl IntoIterator<Item = &'a T>) -> String {
    let words: Vec<&str> = words.into_iter().map(AsRef::as_ref).collect();
    words.join(", ")
}
