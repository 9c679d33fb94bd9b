//! `man` and `completions`: what packages bring beside the program, made from the same table of verbs that it parses.
//!
//! The sections on the command line come from clap, those on the daemon from here. The pages of single verbs, which
//! clap would make, are one list of theirs: nobody looks for `auto-ai-router-check(1)`.

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::roff::{bold, roman, Roff};
use clap_mangen::Man;

/// Titles and paragraphs: a tag, or nothing, and a text.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: [Section; 5] = [
    (
        "FILES",
        &[
            ("./config.yaml, /etc/auto-ai-router/config.yaml", "The configuration, where none is named."),
            ("./.env", "Variables that are not set already, for ./config.yaml and where there is no file."),
            (
                "/etc/auto-ai-router/environment",
                "Variables of the service, NAME=value, one a line: the keys that the configuration names as os.environ/NAME.",
            ),
            ("/usr/share/auto-ai-router/", "Example configurations, the JSON Schema, alert rules, a dashboard."),
            ("/usr/share/doc/auto-ai-router/README.md", "Every key, endpoint and metric."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("STATE_DIRECTORY", "Where it is kept which credential holds which file or response."),
            ("RUNTIME_DIRECTORY", "Where the admin socket is."),
            ("RUST_LOG", "Which lines of the program's own log are written."),
            ("OPENAI_API_KEY, ROUTER_SERVICES, ...", "The configuration, where there is no file; see README.md."),
            (
                "AUTO_AI_ROUTER_SECRET_KEY, AUTO_AI_ROUTER_SECRET_KEY_FILE",
                "The key of sealed values, and the file that holds it.",
            ),
            ("NO_COLOR", "Plain text on a terminal."),
            ("SSL_CERT_FILE", "The authorities to trust instead of the system's."),
        ],
    ),
    (
        "SIGNALS",
        &[
            ("SIGTERM", "New requests are refused, those under way finish; it exits as soon as the last has."),
            ("SIGINT", "It exits at once."),
            ("SIGHUP", "The configuration is read again; a file with errors changes nothing."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("1", "A failure at run time; of healthcheck: the router takes no traffic."),
            ("2", "Words that are no command."),
            ("78", "A configuration that cannot be used; every problem has been told with its place."),
        ],
    ),
    ("SEE ALSO", &[("", "systemctl(1), journalctl(1)")]),
];

/// The manual page, as roff.
pub fn man(command: Command) -> String {
    let page = Man::new(command.clone()).title("AUTO-AI-ROUTER").manual("Auto AI Router").date("");
    let mut out = Vec::new();
    // A vector takes whatever is written to it.
    let _ = page
        .render_title(&mut out)
        .and_then(|()| page.render_name_section(&mut out))
        .and_then(|()| page.render_synopsis_section(&mut out))
        .and_then(|()| page.render_options_section(&mut out));
    let mut roff = verbs(&command);
    for (title, paragraphs) in SECTIONS {
        roff.control("SH", [title]);
        for (tag, text) in paragraphs {
            paragraph(&mut roff, tag, text);
        }
    }
    let _ = roff.to_writer(&mut out);
    text(out)
}

fn text(written: Vec<u8>) -> String {
    String::from_utf8_lossy(&written).trim_end().to_owned()
}

fn verbs(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for verb in command.get_subcommands() {
        let words = verb.get_arguments().filter(|argument| !argument.is_global_set()).map(word);
        let tag = std::iter::once(verb.get_name().to_owned()).chain(words).collect::<Vec<_>>().join(" ");
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        paragraph(&mut roff, &tag, &format!("{about}."));
    }
    roff
}

/// An argument as it is typed: `MODEL`, `[--port PORT]`.
fn word(argument: &Arg) -> String {
    let value = argument.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (argument.get_long(), value) {
        (Some(long), Some(value)) if argument.get_action().takes_values() => format!("[--{long} {value}]"),
        (Some(long), _) => format!("[--{long}]"),
        (None, value) => value.unwrap_or(argument.get_id().as_str()).to_owned(),
    }
}

fn paragraph(roff: &mut Roff, tag: &str, text: &str) {
    if !tag.is_empty() {
        roff.control("TP", []).text([bold(tag)]);
    }
    roff.text([roman(text)]);
}

/// A script that completes the verbs and their words in `shell`.
pub fn completions(mut command: Command, shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "auto-ai-router", &mut out);
    text(out)
}
