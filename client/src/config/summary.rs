//! What the wishes come to, for `ngrnotok config check`. The token is never shown.

use std::fmt::Write as _;
use std::iter;

use super::{ConfigError, Wishes, connector, keep, limits, target, token, web_password};
use crate::settings::{Settings, Size, Time, TunnelSettings};
use crate::web::{self, Place};

/// What would be used, one line for each thing; every file that is named has been read.
pub fn of(wishes: &Wishes) -> Result<String, ConfigError> {
    let settings = &wishes.settings;
    let mut lines = Lines::default();
    lines.add(
        "config file",
        match (&wishes.path, &wishes.file) {
            (Some(path), Some(_)) => path.display().to_string(),
            (Some(path), None) => format!("none; it would be {}", path.display()),
            (None, _) => "none; there is no home folder for it".to_owned(),
        },
    );
    match connector(settings)? {
        None => lines.add("server", "one on this machine, for this machine only"),
        Some(connector) => {
            lines.add("server", connector.server());
            lines.add("known by", known_by(settings));
            if let Some(proxy) = connector.proxy() {
                lines.add("through", proxy.to_string());
            }
            token(settings)?;
            lines.add("token", token_place(wishes));
        }
    }
    lines.add("inspect", inspect(settings)?);
    lines.add("web", web(settings)?);
    if settings.tunnels.is_empty() {
        lines.add("tunnels", "none");
    }
    let width = settings.tunnels.keys().map(|name| name.chars().count());
    let width = width.max().unwrap_or(0);
    let labels = iter::once("tunnels").chain(iter::repeat(""));
    for (label, (name, words)) in labels.zip(&settings.tunnels) {
        lines.add(label, format!("{name:<width$}  {}", tunnel(words)?));
    }
    Ok(lines.text)
}

fn web(settings: &Settings) -> Result<String, ConfigError> {
    let place = match settings.web.unwrap_or_default() {
        Place::Off => return Ok("off".to_owned()),
        Place::Usual => format!("127.0.0.1:{}, or the next free port", web::PORT),
        Place::At(address) => address.to_string(),
    };
    let password = web_password(settings)?.map_or("", |_| ", with a password");
    let unix = match settings.web_allow_unix {
        true => ", opens tunnels to Unix sockets",
        false => "",
    };
    Ok(format!("{place}{password}{unix}"))
}

fn known_by(settings: &Settings) -> String {
    match (&settings.server_ca, settings.server_pin) {
        (Some(file), _) => format!("the authority in {}", file.display()),
        (None, Some(pin)) => pin.to_string(),
        (None, None) => "the authorities that this machine trusts".to_owned(),
    }
}

fn token_place(
    Wishes {
        given, settings, ..
    }: &Wishes,
) -> String {
    match (&settings.token_file, &settings.token) {
        (Some(file), _) => format!("in {}", file.display()),
        (None, Some(_)) if given.token.is_some() => "in NGRNOTOK_TOKEN".to_owned(),
        (None, Some(_)) => "in the config file".to_owned(),
        (None, None) => "none".to_owned(),
    }
}

fn inspect(settings: &Settings) -> Result<String, ConfigError> {
    let Some(limits) = limits(settings)? else {
        return Ok("off".to_owned());
    };
    let (memory, body) = (Size(limits.total_bytes), Size(limits.body_bytes));
    let mut line = format!("{memory} in memory, {body} of each body");
    if let Some(keep) = keep(settings) {
        let (time, file) = (Time(keep.time), keep.file.display());
        write!(line, "; for {time} in {file}").expect("a string takes everything");
    }
    Ok(line)
}

fn tunnel(words: &TunnelSettings) -> Result<String, ConfigError> {
    let target = target(words)?;
    Ok(match &words.name {
        Some(name) => format!("{target}, name {name}"),
        None => target.to_string(),
    })
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, label: &str, line: impl AsRef<str>) {
        let line = line.as_ref();
        writeln!(self.text, "{label:<11}  {line}").expect("a string takes everything");
    }
}
