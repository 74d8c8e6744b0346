//! XML answers of the Query services: elements and text, nothing else. The same tree is shown as JSON in audit lines, but
//! for its secrets.

use serde_json::{Map, Value};

/// A document under construction.
#[derive(Debug, Default)]
pub(crate) struct Xml(Vec<Node>);

#[derive(Debug)]
enum Node {
    Text(String),
    Secret(String),
    Element(String, Vec<Node>),
}

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An element with text.
    #[must_use]
    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        self.0.push(Node::Element(name.to_owned(), vec![Node::Text(text.to_owned())]));
        self
    }

    /// An element with text that must stand nowhere but in the answer.
    #[must_use]
    pub(crate) fn secret(mut self, name: &str, text: &str) -> Self {
        self.0.push(Node::Element(name.to_owned(), vec![Node::Secret(text.to_owned())]));
        self
    }

    /// An element with text, where there is one.
    #[must_use]
    pub(crate) fn text_if(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// An element with children.
    #[must_use]
    pub(crate) fn element(mut self, name: &str, children: impl FnOnce(Self) -> Self) -> Self {
        let Self(children) = children(Self::new());
        self.0.push(Node::Element(name.to_owned(), children));
        self
    }

    /// A list: one `member` element each.
    #[must_use]
    pub(crate) fn members<T>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut member: impl FnMut(Self, T) -> Self,
    ) -> Self {
        self.element(name, |list| {
            items.into_iter().fold(list, |list, item| list.element("member", |element| member(element, item)))
        })
    }

    /// Adds text to the element that is open.
    #[must_use]
    pub(crate) fn content(mut self, text: &str) -> Self {
        self.0.push(Node::Text(text.to_owned()));
        self
    }

    /// Adds elements that were built apart.
    #[must_use]
    pub(crate) fn append(mut self, inner: Self) -> Self {
        self.0.extend(inner.0);
        self
    }

    /// The root element, in a namespace, with everything so far inside.
    pub(crate) fn into_document(self, root: &str, namespace: &str) -> String {
        let mut document = format!("<{root} xmlns=\"{namespace}\">");
        for node in &self.0 {
            write(&mut document, node);
        }
        document.push_str("</");
        document.push_str(root);
        document.push_str(">\n");
        document
    }

    /// Everything but the secrets, with names as JSON services write them.
    pub(crate) fn to_json(&self) -> Value {
        to_json(&self.0)
    }
}

fn to_json(nodes: &[Node]) -> Value {
    let mut members = Vec::new();
    let mut fields = Map::new();
    for node in nodes {
        match node {
            Node::Text(text) => return Value::String(text.clone()),
            Node::Secret(_) => {}
            Node::Element(_, children) if matches!(children.as_slice(), [Node::Secret(_)]) => {}
            Node::Element(name, children) if name == "member" => members.push(to_json(children)),
            Node::Element(name, children) => {
                fields.insert(lower_camel(name), to_json(children));
            }
        }
    }
    if members.is_empty() { Value::Object(fields) } else { Value::Array(members) }
}

/// `UserName` as JSON services write it.
pub(crate) fn lower_camel(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + characters.as_str())
}

fn write(document: &mut String, node: &Node) {
    match node {
        Node::Text(text) | Node::Secret(text) => escaped(document, text),
        Node::Element(name, children) => {
            for text in ["<", name, ">"] {
                document.push_str(text);
            }
            for child in children {
                write(document, child);
            }
            for text in ["</", name, ">"] {
                document.push_str(text);
            }
        }
    }
}

/// Characters that XML 1.0 cannot hold at all become the replacement character.
fn escaped(document: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            '"' => document.push_str("&quot;"),
            '\t' | '\n' | '\r' => document.push(character),
            control if control.is_ascii_control() => document.push(char::REPLACEMENT_CHARACTER),
            '\u{fffe}' | '\u{ffff}' => document.push(char::REPLACEMENT_CHARACTER),
            plain => document.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let xml = Xml::new().text("Message", "<a href=\"x\">&\u{1}").into_document("Root", "urn:n");
        assert_eq!(
            xml,
            "<Root xmlns=\"urn:n\"><Message>&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}</Message></Root>\n"
        );
    }

    #[test]
    fn a_list_has_one_member_each() {
        let xml = Xml::new().members("Names", ["a", "b"], Xml::content).into_document("R", "n");
        assert_eq!(xml, "<R xmlns=\"n\"><Names><member>a</member><member>b</member></Names></R>\n");
    }

    #[test]
    fn as_json_it_has_everything_but_its_secrets() {
        let key = |xml: Xml| xml.text("UserName", "ann").secret("SecretAccessKey", "s3cr3t");
        let xml = Xml::new().element("AccessKey", key).members("Names", ["a"], Xml::content);
        assert_eq!(xml.to_json(), serde_json::json!({"accessKey": {"userName": "ann"}, "names": ["a"]}));
        assert!(xml.into_document("R", "n").contains("<SecretAccessKey>s3cr3t</SecretAccessKey>"));
    }
}
