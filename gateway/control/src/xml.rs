//! XML answers of the Query services: elements and text, nothing else.

/// Text of an XML document under construction.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An element with text.
    #[must_use]
    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        self.open(name);
        self.escaped(text);
        self.close(name);
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
        self.open(name);
        self = children(self);
        self.close(name);
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

    /// The root element, in a namespace, with everything so far inside.
    pub(crate) fn into_document(self, root: &str, namespace: &str) -> String {
        format!("<{root} xmlns=\"{namespace}\">{}</{root}>\n", self.0)
    }

    /// Adds text to the element that is open.
    #[must_use]
    pub(crate) fn content(mut self, text: &str) -> Self {
        self.escaped(text);
        self
    }

    /// Adds elements that were built apart.
    #[must_use]
    pub(crate) fn append(mut self, inner: &Self) -> Self {
        self.0.push_str(&inner.0);
        self
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// Characters that XML 1.0 cannot hold at all become the replacement character.
    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\t' | '\n' | '\r' => self.0.push(character),
                control if control.is_ascii_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                '\u{fffe}' | '\u{ffff}' => self.0.push(char::REPLACEMENT_CHARACTER),
                plain => self.0.push(plain),
            }
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
}
