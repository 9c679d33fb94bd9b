//! "Did you mean": the nearest known word, and the words that other programs use for ours.

/// Other programs' spellings (LiteLLM's, the SDKs', older versions') and what they are called here.
const ALIASES: [(&str, &str); 33] = [
    ("address", "host"),
    ("allow_models", "models"),
    ("allowed_models", "models"),
    ("api_base", "base_url"),
    ("api_url", "base_url"),
    ("azure_openai", "azure"),
    ("ban_time", "ban_duration"),
    ("bind", "host"),
    ("claude", "anthropic"),
    ("concurrency", "max_concurrent"),
    ("endpoint", "base_url"),
    ("fallback", "is_fallback"),
    ("google", "gemini"),
    ("grok", "xai"),
    ("key", "api_key"),
    ("log_level", "logging_level"),
    ("max_parallel_requests", "max_concurrent"),
    ("max_retries", "max_attempts"),
    ("model", "name"),
    ("model_list", "models"),
    ("model_name", "name"),
    ("num_retries", "max_attempts"),
    ("order", "priority"),
    ("provider", "type"),
    ("providers", "credentials"),
    ("retries", "max_attempts"),
    ("timeout", "request_timeout"),
    ("token", "api_key"),
    ("url", "base_url"),
    ("vertex", "vertex-ai"),
    ("vertex_credentials", "credentials_file"),
    ("vertex_location", "location"),
    ("vertex_project", "project_id"),
];

/// The known word that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let word = plain(word);
    let alias = ALIASES.iter().find(|(other, _)| plain(other) == word).map(|(_, ours)| *ours);
    if let Some(ours) = alias.and_then(|ours| known.clone().find(|known| *known == ours)) {
        return Some(ours);
    }
    let reach = (word.chars().count() / 3).max(1);
    known
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The word without what people vary: case, hyphens, underscores.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["api_key", "base_url", "rpm", "tpm", "models", "max_concurrent"];
        for (word, meant) in [
            ("api-key", Some("api_key")),
            ("apikey", Some("api_key")),
            ("api_base", Some("base_url")),
            ("baseurl", Some("base_url")),
            ("modles", Some("models")),
            ("something", None),
            ("log_level", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }
}
