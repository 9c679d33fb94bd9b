//! `/docs` and `/redoc`: the endpoints on one page, for people.
//!
//! The usual viewers are megabytes of script from elsewhere. This is one document made from the same table as
//! `/openapi.json`: no script, no further request, and a policy that forbids both.

use askama::Template;

use crate::llm::endpoint::{listed, Listed};

#[derive(Template)]
#[template(path = "docs.html", config = "src/observe/askama.toml")]
struct Page {
    version: &'static str,
    endpoints: Vec<Listed>,
}

/// The page.
pub fn render() -> String {
    let page = Page { version: crate::VERSION, endpoints: listed() };
    // Rendering writes to a string, and nothing in the template can fail.
    page.render().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_endpoint_and_nothing_from_elsewhere() {
        let page = render();
        for endpoint in listed() {
            assert!(page.contains(&format!("<code>{}</code>", endpoint.path)), "{}", endpoint.path);
        }
        assert!(page.len() < 60 << 10, "{}", page.len());
        for foreign in ["<script", "<link", "src=", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
