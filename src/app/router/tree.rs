//! A search tree of routes. Input: segments. Output: the matching routes, the most literal first.
//!
//! Each prefix of a pattern has one node. A search tries a literal, then a parameter, then the
//! remaining path, and backtracks without a match. It visits each node at most once, so its number
//! of steps is at most the number of nodes, whatever a peer sends.

use super::path::Path;
use super::pattern::Segment;

/// Patterns, each with the indices of its routes.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by segment.
    literals: Vec<(Box<[u8]>, usize)>,
    param: Option<usize>,
    /// Routes with a pattern that ends here.
    here: Vec<usize>,
    /// Routes with a pattern that ends in `{*name}` here.
    rest: Vec<usize>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { nodes: vec![Node::default()] }
    }

    /// Adds `route` under the pattern of these segments. Returns all routes with this pattern,
    /// including the new one.
    pub(super) fn insert(&mut self, segments: &[Segment<'_>], route: usize) -> &[usize] {
        let mut node = 0;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => self.literal(node, text.as_bytes()),
                Segment::Param(_) => self.param(node),
                Segment::Rest(_) => {
                    self.nodes[node].rest.push(route);
                    return &self.nodes[node].rest;
                }
            };
        }
        self.nodes[node].here.push(route);
        &self.nodes[node].here
    }

    fn literal(&mut self, node: usize, text: &[u8]) -> usize {
        let next = self.nodes.len();
        let literals = &mut self.nodes[node].literals;
        match literals.binary_search_by(|(literal, _)| (**literal).cmp(text)) {
            Ok(at) => literals[at].1,
            Err(at) => {
                literals.insert(at, (text.into(), next));
                self.nodes.push(Node::default());
                next
            }
        }
    }

    fn param(&mut self, node: usize) -> usize {
        if let Some(next) = self.nodes[node].param {
            return next;
        }
        self.nodes.push(Node::default());
        let next = self.nodes.len() - 1;
        self.nodes[node].param = Some(next);
        next
    }

    /// Calls `accept` with the routes of each pattern that matches `path`, until it returns `Some`.
    pub(super) fn find<R>(
        &self,
        path: &Path,
        accept: &mut impl FnMut(&[usize]) -> Option<R>,
    ) -> Option<R> {
        self.find_below(0, path, 0, accept)
    }

    fn find_below<R>(
        &self,
        node: usize,
        path: &Path,
        depth: usize,
        accept: &mut impl FnMut(&[usize]) -> Option<R>,
    ) -> Option<R> {
        let node = &self.nodes[node];
        if depth == path.len() {
            return if node.here.is_empty() { None } else { accept(&node.here) };
        }
        let segment = path.segment(depth);
        if let Ok(at) = node.literals.binary_search_by(|(literal, _)| (**literal).cmp(segment)) {
            let found = self.find_below(node.literals[at].1, path, depth + 1, accept);
            if found.is_some() {
                return found;
            }
        }
        if let Some(param) = node.param
            && !segment.is_empty()
        {
            let found = self.find_below(param, path, depth + 1, accept);
            if found.is_some() {
                return found;
            }
        }
        if node.rest.is_empty() { None } else { path.rest(depth).and_then(|_| accept(&node.rest)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern;
    use super::*;

    /// All matching patterns in the order of the search.
    fn matches<'p>(patterns: &[&'p str], target: &str) -> Vec<&'p str> {
        let mut tree = Tree::new();
        for (route, pattern) in patterns.iter().enumerate() {
            tree.insert(&pattern::parse(pattern).unwrap(), route);
        }
        let mut path = Path::new(8192);
        path.read(target.as_bytes()).unwrap();
        let mut found = Vec::new();
        tree.find(&path, &mut |routes| {
            found.extend(routes.iter().map(|route| patterns[*route]));
            None::<()>
        });
        found
    }

    #[test]
    fn the_most_literal_pattern_comes_first_and_others_follow() {
        let patterns = [
            "/",
            "/{*rest}",
            "/users",
            "/users/",
            "/users/{id}",
            "/users/me",
            "/users/{id}/posts",
            "/users/{id}/{*rest}",
            "/users/me/{*rest}",
            "/a/{x}/c",
            "/a/b/{y}",
            "/café",
        ];
        let table: [(&str, &[&str]); 14] = [
            ("/", &["/"]),
            ("/users", &["/users", "/{*rest}"]),
            ("/users/", &["/users/", "/{*rest}"]),
            ("/users/me", &["/users/me", "/users/{id}", "/{*rest}"]),
            ("/users/1", &["/users/{id}", "/{*rest}"]),
            (
                "/users/me/posts",
                &["/users/me/{*rest}", "/users/{id}/posts", "/users/{id}/{*rest}", "/{*rest}"],
            ),
            ("/users/1/a/b", &["/users/{id}/{*rest}", "/{*rest}"]),
            ("/a/b/c", &["/a/b/{y}", "/a/{x}/c", "/{*rest}"]),
            ("/a/b/d", &["/a/b/{y}", "/{*rest}"]),
            ("/a/d/c", &["/a/{x}/c", "/{*rest}"]),
            ("/caf%c3%a9", &["/café", "/{*rest}"]),
            ("/users//posts", &["/{*rest}"]),
            ("/a%2fb", &[]),
            ("/users/a%2fb", &["/users/{id}"]),
        ];
        for (target, expected) in table {
            assert_eq!(matches(&patterns, target), expected, "{target}");
        }
    }
}
