//! What a step that fails brings back.

/// What was there before a service got another pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// Its folder, and where that went.
    pub folder: String,
    pub copy: String,
    /// The file that was written, and the copy of it; no copy where there was no file.
    pub file: Option<String>,
    pub backup: Option<String>,
    pub units: &'static [&'static str],
    /// The service ran.
    pub ran: bool,
}
