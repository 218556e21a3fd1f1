//! The tables of `docs/protocol.md` read every vector to its last byte, so whoever writes a decoder from them is right.
//!
//! The types in backticks are taken from the page as they stand there; what reads them here knows nothing else.

use std::collections::BTreeMap;
use std::str::from_utf8;

use kith_common::fuzzing::{self, Vector};
use kith_common::status::Status;
use kith_common::wire::{FrameKind, LARGE_BYTES_MAX, SMALL_BYTES_MAX};

/// A row of a table: its cells
type Row = Vec<String>;

/// What the page says
struct Page {
    tables: Vec<Vec<Row>>,
    /// The fields of each part, payload and content by its name
    parts: BTreeMap<String, Vec<String>>,
    /// The variants of payloads and of contents, in their order
    variants: BTreeMap<&'static str, Vec<String>>,
}

/// Bytes that are not as the page says
#[derive(Debug)]
struct Fault(#[expect(dead_code, reason = "printed")] String);

fn fault(text: impl Into<String>) -> Fault {
    Fault(text.into())
}

impl Page {
    fn read() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
        let (mut tables, mut table) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match cells(line) {
                Some(row) if row.iter().all(|cell| cell.chars().all(|c| c == '-')) => {}
                Some(row) => table.push(row),
                None if table.is_empty() => {}
                None => tables.push(std::mem::take(&mut table)),
            }
        }
        let mut page = Self { tables, parts: BTreeMap::new(), variants: BTreeMap::new() };
        for table in page.tables.iter().filter(|table| table[0][0] == "part") {
            page.parts.extend(table[1..].iter().map(|row| (row[0].clone(), types(&row[1]))));
        }
        for kind in ["payload", "content"] {
            let rows = page.table(kind)[1..].to_vec();
            for (number, row) in rows.iter().enumerate() {
                let (said, name) = row[0].split_once(' ').unwrap();
                assert_eq!(said.parse(), Ok(number), "the variants of {kind} stand in their order");
                page.variants.entry(kind).or_default().push(format!("{kind} {name}"));
                page.parts.insert(format!("{kind} {name}"), types(&row[1]));
            }
        }
        let columns = |heading: &str| page.table(heading)[1..].iter().flat_map(|row| types(&row[0])).collect();
        let (hello, message) = (columns("field of Hello"), columns("field of a signed message"));
        page.parts.extend([("hello".to_owned(), hello), ("message".to_owned(), message)]);
        page
    }

    /// The table whose first heading is this
    fn table(&self, heading: &str) -> &[Row] {
        self.tables.iter().find(|table| table[0][0] == heading).unwrap_or_else(|| panic!("no table {heading}"))
    }

    fn fields<'a>(&self, types: &[String], mut bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        for wanted in types {
            bytes = self.value(wanted, bytes).map_err(|error| fault(format!("{wanted}: {error:?}")))?;
        }
        Ok(bytes)
    }

    /// Reads one value, and returns what is behind it
    fn value<'a>(&self, wanted: &str, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let wanted = wanted.trim();
        if wanted.contains('|') {
            let (variant, bytes) = take(bytes, 4)?;
            let number = u32::from_le_bytes(variant.try_into().unwrap()) as usize;
            let variant = wanted.split('|').nth(number).ok_or_else(|| fault("no such variant"))?.trim();
            return match variant.split_once(':') {
                Some((_, fields)) => self.value(fields, bytes),
                None if variant == "name" || variant == "short id" => self.value(variant, bytes),
                None => Ok(bytes),
            };
        }
        if let Some(inner) = wanted.strip_prefix("option ") {
            return match take(bytes, 1)? {
                ([0], bytes) => Ok(bytes),
                ([1], bytes) => self.value(inner, bytes),
                _ => Err(fault("neither 0 nor 1")),
            };
        }
        if let Some((inner, max)) = wanted.strip_prefix("list ").and_then(|list| list.rsplit_once(" ≤ ")) {
            let (count, mut bytes) = count(bytes, max)?;
            let inner = inner.trim_matches(['(', ')']);
            for _ in 0..count {
                bytes = inner.split(", ").try_fold(bytes, |bytes, field| self.value(field, bytes))?;
            }
            return Ok(bytes);
        }
        if let Some(literal) = wanted.strip_prefix('"') {
            return bytes.strip_prefix(literal.trim_end_matches('"').as_bytes()).ok_or_else(|| fault("other bytes"));
        }
        match wanted.split_once(" ≤ ").unwrap_or((wanted, "")) {
            ("u8", _) => Ok(take(bytes, 1)?.1),
            ("u16", _) => Ok(take(bytes, 2)?.1),
            ("u32" | "short id", _) => Ok(take(bytes, 4)?.1),
            ("u64" | "address", _) => Ok(take(bytes, 8)?.1),
            ("epoch", _) => Ok(take(bytes, 12)?.1),
            ("bool", _) => match take(bytes, 1)? {
                ([0 | 1], bytes) => Ok(bytes),
                _ => Err(fault("neither 0 nor 1")),
            },
            ("status", _) => {
                let (code, bytes) = take(bytes, 2)?;
                let code = u16::from_le_bytes(code.try_into().unwrap());
                if self.statuses().contains(&code) { Ok(bytes) } else { Err(fault("no status")) }
            }
            ("bytes", max) => counted(bytes, max).map(|(_, bytes)| bytes),
            ("text", max) => text(bytes, max),
            ("name", _) => text(bytes, "63"),
            ("location", _) => text(bytes, "100"),
            ("rest", _) => from_utf8(bytes).map(|_| [].as_slice()).map_err(|_| fault("not UTF-8")),
            ("packet", _) => packet(bytes),
            ("payload" | "content", _) => {
                let (variant, bytes) = take(bytes, 4)?;
                let number = u32::from_le_bytes(variant.try_into().unwrap()) as usize;
                let name = self.variants[wanted].get(number).ok_or_else(|| fault("no such variant"))?;
                self.fields(&self.parts[name], bytes)
            }
            (fixed, _) if fixed.starts_with('[') => {
                let len = fixed.trim_matches(['[', ']']).parse().map_err(|_| fault("no length"))?;
                Ok(take(bytes, len)?.1)
            }
            (part, _) => {
                let fields = self.parts.get(part).ok_or_else(|| fault("the page does not say what that is"))?;
                self.fields(fields, bytes)
            }
        }
    }

    fn statuses(&self) -> Vec<u16> {
        let rows = self.table("code")[1..].iter();
        let codes = rows.flat_map(|row| [&row[0], &row[2]]).filter(|code| !code.is_empty());
        let mut codes: Vec<u16> = codes.map(|code| code.parse().unwrap()).collect();
        codes.sort_unstable();
        codes
    }

    /// The fields of a frame of this kind
    fn frame(&self, kind: u8) -> Vec<String> {
        let rows = &self.table("kind")[1..];
        let row = rows.iter().find(|row| row[0] == kind.to_string()).unwrap_or_else(|| panic!("no frame {kind}"));
        if row[1] == "Hello" { vec!["hello".to_owned()] } else { types(&row[4]) }
    }
}

/// The cells of a row, if the line is one
fn cells(line: &str) -> Option<Row> {
    let line = line.strip_prefix('|')?.strip_suffix('|')?.replace(r"\|", "\0");
    Some(line.split('|').map(|cell| cell.replace('\0', "|").trim().to_owned()).collect())
}

/// What stands in backticks
fn types(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn take(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), Fault> {
    bytes.split_at_checked(len).ok_or_else(|| fault(format!("{len} bytes wanted, {} left", bytes.len())))
}

fn count<'a>(bytes: &'a [u8], max: &str) -> Result<(usize, &'a [u8]), Fault> {
    let (count, bytes) = take(bytes, 2)?;
    let count = usize::from(u16::from_le_bytes(count.try_into().unwrap()));
    if count <= max.parse().unwrap() { Ok((count, bytes)) } else { Err(fault(format!("{count} is over {max}"))) }
}

fn counted<'a>(bytes: &'a [u8], max: &str) -> Result<(&'a [u8], &'a [u8]), Fault> {
    let (count, bytes) = count(bytes, max)?;
    take(bytes, count)
}

fn text<'a>(bytes: &'a [u8], max: &str) -> Result<&'a [u8], Fault> {
    let (text, bytes) = counted(bytes, max)?;
    let text = from_utf8(text).map_err(|_| fault("not UTF-8"))?;
    if text.chars().any(char::is_control) { Err(fault("a control character")) } else { Ok(bytes) }
}

/// By the offsets of the page's table of a packet
fn packet(bytes: &[u8]) -> Result<&[u8], Fault> {
    let (head, bytes) = take(bytes, 32)?;
    let (_, trailer) = take(bytes, usize::from(u16::from_le_bytes([head[28], head[29]])))?;
    let well_formed = head[24] <= 128 && [1, 2].contains(&head[25]) && head[26] <= 3 && head[27] <= 145;
    let (trailer, rest) = take(trailer, 5 * usize::from(head[27]))?;
    let marked = trailer.chunks(5).all(|entry| entry[0] <= 3);
    if well_formed && marked && head[30..] == [0, 0] { Ok(rest) } else { Err(fault("not a packet")) }
}

/// What the page calls the bytes of this vector, and where they begin; none for keys, signatures and the like
fn meaning(page: &Page, vector: &Vector) -> Option<(Vec<String>, usize)> {
    let one = |part: &str| Some((vec![part.to_owned()], 0));
    match vector.name.as_str() {
        "certificate" | "signed certificate" => one("certificate"),
        "grant" | "signed grant of alice" | "signed grant of bob" => one("grant"),
        "signed end of the removed keys" => one("end mark"),
        "signed end of the removed keys, its bytes" => one("end mark's body"),
        "record" | "record of bob" => one("record"),
        "rewire" => one("rewire"),
        "signed certificate, its bytes" => one("certificate's body"),
        "signed grant of alice, its bytes" | "signed grant of bob, its bytes" => one("grant's body"),
        "signed ping, its bytes" | "signed reply, its bytes" => one("message"),
        "question of a message, its body" | "receipt" | "call" | "opening" => one(&vector.name),
        "causes" => Some((vec!["cause".to_owned(); 5], 0)),
        "choices" => Some((vec!["choice".to_owned(); 5], 0)),
        "statuses" => Some((vec!["status".to_owned(); Status::ALL.len()], 0)),
        name if name.starts_with("saying of ") => one(name),
        name if name.starts_with("message with ") => one("message"),
        name if name.starts_with("payload ") => one("payload"),
        name if name.starts_with("packet ") => one("packet"),
        name if ["frame ", "login ", "link "].iter().any(|start| name.starts_with(start)) => {
            Some((page.frame(vector.bytes[0]), 4))
        }
        _ => None,
    }
}

#[test]
fn tables_of_the_page_read_every_vector_to_its_end() {
    let page = Page::read();
    let vectors = fuzzing::golden().unwrap();
    let mut read = 0;
    for vector in &vectors {
        let Some((types, start)) = meaning(&page, vector) else { continue };
        assert!(!types.is_empty(), "the page says nothing of {}", vector.name);
        match page.fields(&types, &vector.bytes[start..]) {
            Ok(rest) => assert!(rest.is_empty(), "{}: {} bytes are left over", vector.name, rest.len()),
            Err(fault) => panic!("{}: {fault:?}", vector.name),
        }
        read += 1;
    }
    assert!(read > 80, "{read} of {} vectors", vectors.len());
}

#[test]
fn payloads_in_the_transcript_are_as_the_page_says() {
    let page = Page::read();
    for vector in fuzzing::golden().unwrap().iter().filter(|vector| vector.name.contains(": Packet with")) {
        let packet = &vector.bytes[4..];
        let payload = &packet[32..32 + usize::from(u16::from_le_bytes([packet[28], packet[29]]))];
        assert!(page.value("payload", payload).unwrap().is_empty(), "{}", vector.name);
    }
}

#[test]
fn page_has_the_frames_bounds_and_statuses_that_there_are() {
    let page = Page::read();
    let rows = &page.table("kind")[1..];
    let said: Vec<(u8, &str, usize)> = rows
        .iter()
        .map(|row| {
            let longest = match row[3].as_str() {
                "16 KiB" => SMALL_BYTES_MAX,
                "64 KiB" => LARGE_BYTES_MAX,
                other => panic!("{other}"),
            };
            (row[0].parse().unwrap(), row[1].as_str(), longest)
        })
        .collect();
    let names: Vec<String> = FrameKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    let are: Vec<(u8, &str, usize)> = FrameKind::ALL
        .iter()
        .zip(&names)
        .map(|(kind, name)| (*kind as u8, name.as_str(), kind.body_bytes_max()))
        .collect();
    assert_eq!(said, are);
    assert_eq!(page.statuses(), Status::ALL.iter().map(|status| status.code()).collect::<Vec<_>>());
}
