//! LVM's configuration grammar, as far as dmtool reads it: profiles, lvm.conf, and the backups of volume group
//! metadata. Nested sections, `name = value`, `section/name = value`, arrays; `#` begins a comment.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
}

/// Every setting under its path: `activation/monitoring`.
pub type Settings = BTreeMap<String, Value>;

/// Reads a text in LVM's grammar.
///
/// # Errors
/// A sentence with the line where it stops being one.
pub fn parse(text: &str) -> Result<Settings, String> {
    // A setting's path has the names of all sections around it: in what people and LVM write it is some times as long as its
    // line.
    let mut parser = Parser { tokens: tokens(text)?, at: 0, left: text.len().saturating_mul(64) };
    let mut settings = Settings::new();
    parser.section("", 0, &mut settings)?;
    Ok(settings)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let first = rest.chars().next().unwrap_or_default();
            let (token, length) = if "{}[]=,".contains(first) {
                (Token::Sign(first), 1)
            } else if first == '"' || first == '\'' {
                let (text, length) =
                    quoted(rest, first).ok_or_else(|| format!("line {}: a quote is not closed", number + 1))?;
                (Token::Quoted(text), length)
            } else {
                let end = rest.find(|c: char| c.is_whitespace() || "{}[]=,#\"".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest.get(..end).unwrap_or(rest).to_owned()), end)
            };
            found.push((number + 1, token));
            rest = rest.get(length..).unwrap_or_default().trim_start();
        }
    }
    Ok(found)
}

/// The text between quotes and the length of it all; a backslash takes the next character as it is.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if quote == '"' => content.push(characters.next()?.1),
            c if c == quote => return Some((content, at + c.len_utf8())),
            c => content.push(c),
        }
    }
    None
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// How long all paths may still be together.
    left: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, token)| token.clone());
        self.at += 1;
        token
    }

    fn wrong(&self, what: &str) -> String {
        let line = self.tokens.get(self.at.saturating_sub(1)).or(self.tokens.last()).map_or(1, |(line, _)| *line);
        format!("line {line}: {what}")
    }

    fn section(&mut self, path: &str, depth: usize, settings: &mut Settings) -> Result<(), String> {
        if depth > 32 {
            return Err(self.wrong("sections are nested too deeply"));
        }
        while let Some(token) = self.next() {
            let name = match token {
                Token::Word(name) | Token::Quoted(name) => name,
                Token::Sign('}') if depth > 0 => return Ok(()),
                Token::Sign(sign) => return Err(self.wrong(&format!("'{sign}' where a name is due"))),
            };
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            self.left = self.left.checked_sub(path.len()).ok_or_else(|| self.wrong("the names are too long"))?;
            match self.next() {
                Some(Token::Sign('{')) => self.section(&path, depth + 1, settings)?,
                Some(Token::Sign('=')) => {
                    let value = self.value()?;
                    settings.insert(path, value);
                }
                _ => return Err(self.wrong(&format!("'=' or '{{' is missing after {path}"))),
            }
        }
        if depth == 0 { Ok(()) } else { Err(self.wrong("a section is not closed")) }
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.next() {
            Some(Token::Quoted(text)) => Ok(Value::Text(text)),
            Some(Token::Word(word)) => Ok(word.parse().map_or(Value::Text(word), Value::Number)),
            Some(Token::Sign('[')) => {
                let mut list = Vec::new();
                loop {
                    match self.next() {
                        Some(Token::Sign(']')) => return Ok(Value::List(list)),
                        Some(Token::Sign(',')) => {}
                        Some(Token::Quoted(text)) => list.push(Value::Text(text)),
                        Some(Token::Word(word)) => list.push(word.parse().map_or(Value::Text(word), Value::Number)),
                        _ => return Err(self.wrong("an array is not closed")),
                    }
                }
            }
            _ => Err(self.wrong("a value is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_profile() {
        let settings =
            parse("# by hand\nactivation {\n\tthin_pool_autoextend_threshold=80\n}\nallocation/x = \"a#b\"\n");
        let settings = settings.expect("a profile");
        assert_eq!(settings.get("activation/thin_pool_autoextend_threshold"), Some(&Value::Number(80)));
        assert_eq!(settings.get("allocation/x"), Some(&Value::Text("a#b".to_owned())));
    }

    #[test]
    fn a_backup_of_a_volume_group() {
        let text = "contents = \"Text\"\nvg {\n id = \"x\"\n status = [\"READ\", \"WRITE\"]\n logical_volumes {\n pool {\n \
                    segment1 {\n type = \"thin-pool\"\n stripes = [\n \"pv0\", 0\n ]\n }\n }\n }\n}\n";
        let settings = parse(text).expect("a backup");
        assert_eq!(settings.get("vg/logical_volumes/pool/segment1/type"), Some(&Value::Text("thin-pool".to_owned())));
        let stripes = Value::List(vec![Value::Text("pv0".to_owned()), Value::Number(0)]);
        assert_eq!(settings.get("vg/logical_volumes/pool/segment1/stripes"), Some(&stripes));
    }

    #[test]
    fn what_is_none_is_told_with_its_line() {
        for text in ["a {", "}", "a =", "a = [1", "a", "= 1", "x = \"open", "a {\n b { \n}"] {
            let why = parse(text).expect_err(text);
            assert!(why.starts_with("line "), "{why}");
        }
    }

    #[test]
    fn long_names_around_many_settings_are_not_repeated_without_end() {
        let settings = (0..1000).map(|at| format!("x{at}=1")).collect::<Vec<_>>().join("\n");
        let sections = |name: &str| format!("{name} {{ {name} {{ {name} {{ {name} {{\n{settings}\n}} }} }} }}\n");
        assert!(parse(&sections("logical_volumes")).is_ok());
        assert!(parse(&sections(&"a".repeat(1000))).expect_err("too long").contains("the names are too long"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}=,#\"'\\\\a-z0-9 \n/é]*") {
            let _ = parse(&text);
        }
    }
}
