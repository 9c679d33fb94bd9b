//! The OpenAI dialect, which is also what clients speak to us: paths and bodies go on as they are.
//!
//! Only the address differs: an upstream's base URL may have a path of its own, with or without `/v1` at its end.

/// The path and query to ask an upstream for. `base` is the path of its base URL; a `/v1` that ends it is not doubled.
/// `path` is the client's, beginning with a slash.
pub fn upstream_path(base: &str, path: &str, query: Option<&str>) -> String {
    let base = base.trim_end_matches('/');
    let base = if path.starts_with("/v1/") { base.strip_suffix("/v1").unwrap_or(base) } else { base };
    let mut whole = String::with_capacity(base.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    whole.push_str(base);
    whole.push_str(path);
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole
}

/// The value of `Authorization` for a key.
pub fn authorization(key: &str) -> String {
    format!("Bearer {key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_may_end_in_v1_or_not() {
        for base in ["", "/", "/v1", "/v1/"] {
            assert_eq!(upstream_path(base, "/v1/models", None), "/v1/models");
        }
        assert_eq!(upstream_path("/api/v1", "/v1/files/a", Some("x=1&y")), "/api/v1/files/a?x=1&y");
        assert_eq!(upstream_path("/openai", "/v1/models", None), "/openai/v1/models");
        assert_eq!(upstream_path("/v1", "/health", None), "/v1/health");
    }
}
