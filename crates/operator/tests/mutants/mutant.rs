//! Mutants: the sources with one guard left out.
//!
//! Each file in `testdata/mutants` describes one. Its first line, after `#`, gives the meaning of the guard's absence. A line
//! `# lies:` lists the lies of the histories that look for the mutant; without that line they tell any. Edits follow: a path,
//! the lines to replace after `- `, and their replacement after `+ `. Indentation does not count.

use std::fs;
use std::path::Path;

/// One guard left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Mutant {
    pub name: String,
    /// What the guard's absence means.
    pub meaning: String,
    /// The lies that histories tell which look for it, as a list with commas.
    pub lies: Option<String>,
    edits: Vec<Edit>,
}

/// Lines of one file that others replace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edit {
    path: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// All mutants in a folder, by name.
pub fn read_all(folder: &Path) -> Result<Vec<Mutant>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Mutant::parse(&name, &text)).map_err(|error| format!("mutant {name}: {error}"))
    };
    paths.iter().map(|path| read(path)).collect()
}

impl Mutant {
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let meaning =
            lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("the first line says nothing after #")?;
        let mut told_lies = None;
        let mut edits: Vec<Edit> = Vec::new();
        for line in lines {
            if let Some(told) = line.strip_prefix("# lies:") {
                told_lies = Some(told.trim().to_owned());
                continue;
            }
            let (mark, rest) = line.split_at(line.len().min(2));
            let last = edits.last_mut();
            match (mark.trim_end(), last) {
                ("-", Some(edit)) if edit.to.is_empty() => edit.from.push(rest.trim().to_owned()),
                ("+", Some(edit)) if !edit.from.is_empty() => edit.to.push(rest.to_owned()),
                ("-", Some(edit)) => {
                    let path = edit.path.clone();
                    edits.push(Edit { path, from: vec![rest.trim().to_owned()], ..Edit::default() });
                }
                ("-" | "+", _) => return Err(format!("nothing is replaced at {line:?}")),
                _ => edits.push(Edit { path: line.trim().to_owned(), ..Edit::default() }),
            }
        }
        if edits.is_empty() || edits.iter().any(|edit| edit.from.is_empty()) {
            return Err("an edit replaces nothing".to_owned());
        }
        Ok(Self { name: name.to_owned(), meaning: meaning.to_owned(), lies: told_lies, edits })
    }

    /// The files that it changes below `root`, with their new text. Each edit must match in one place.
    pub fn apply(&self, root: &Path) -> Result<Vec<(String, String)>, String> {
        let mut files: Vec<(String, String)> = Vec::new();
        for edit in &self.edits {
            let known = files.iter().position(|(path, _)| *path == edit.path);
            let at = known.unwrap_or(files.len());
            if known.is_none() {
                let text = fs::read_to_string(root.join(&edit.path));
                files.push((edit.path.clone(), text.map_err(|error| format!("{}: {error}", edit.path))?));
            }
            files[at].1 = edit.apply(&files[at].1)?;
        }
        Ok(files)
    }
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String, String> {
        let lines: Vec<_> = text.lines().collect();
        let matches = |window: &&[&str]| window.iter().zip(&self.from).all(|(line, from)| line.trim() == from);
        let places: Vec<_> =
            lines.windows(self.from.len()).enumerate().filter(|(_, w)| matches(w)).map(|(at, _)| at).collect();
        let [at] = places[..] else {
            return Err(format!("{} has these lines {} times, not once: {:#?}", self.path, places.len(), self.from));
        };
        let after = &lines[at + self.from.len()..];
        let changed =
            lines[..at].iter().copied().chain(self.to.iter().map(String::as_str)).chain(after.iter().copied());
        Ok(changed.flat_map(|line| [line, "\n"]).collect())
    }
}
