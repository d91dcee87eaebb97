//! Redis' wire protocol as far as a test needs it: one command, one reply.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

// Only a stopped or hanging server takes this long.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The reply as text, an array one element a line; an error reply is the inner `Err`.
    pub(crate) fn command(&mut self, words: &[&str]) -> io::Result<Result<String, String>> {
        let bulks = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let request = format!("*{}\r\n{}", words.len(), bulks.collect::<String>());
        self.0.get_mut().write_all(request.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Result<String, String>> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end();
        let (kind, rest) = line
            .split_at_checked(1)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        match kind {
            "+" | ":" => Ok(Ok(rest.to_owned())),
            "-" => Ok(Err(rest.to_owned())),
            "$" | "*" if rest == "-1" => Ok(Ok("(nil)".to_owned())),
            "$" => self.bulk(rest).map(Ok),
            "*" => self.array(rest),
            _ => Err(io::Error::other(format!("not a RESP2 reply: {line}"))),
        }
    }

    fn bulk(&mut self, length: &str) -> io::Result<String> {
        let length: usize = length.parse().map_err(io::Error::other)?;
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn array(&mut self, length: &str) -> io::Result<Result<String, String>> {
        let length: usize = length.parse().map_err(io::Error::other)?;
        let mut lines = Vec::new();
        for _ in 0..length {
            lines.push(self.reply()?.unwrap_or_else(|error| error));
        }
        Ok(Ok(lines.join("\n")))
    }
}
