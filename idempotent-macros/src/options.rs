//! The attribute's arguments, read into [`Options`].

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, Ident, LitBool, Path, Result, Token, Type};

use crate::duration;
use crate::policy::{OnErr, Policy, on_crash, on_err};
use crate::scope::scope;

/// An option's value with its name. Errors about the value that are found later are reported at the
/// name.
pub(crate) struct Given<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

impl<T> Given<T> {
    fn name(&self) -> &Ident {
        &self.name
    }
}

/// Declares [`Options`]. Each line has the option's name, an example for error messages, its field,
/// and how it is read.
macro_rules! options {
    ($($name:literal like $example:literal => $field:ident: $value:ty = $read:expr,)*) => {
        /// Everything written between the parentheses of `#[idempotent(…)]`.
        #[derive(Default)]
        pub(crate) struct Options {
            /// All tokens between the parentheses.
            pub(crate) tokens: TokenStream,
            $(pub(crate) $field: Option<Given<$value>>,)*
        }

        const NAMES: &[&str] = &[$($name),*];

        impl Options {
            fn read(&mut self, name: Ident, input: ParseStream<'_>) -> Result<()> {
                match name.unraw().to_string().as_str() {
                    $($name => read_into(&mut self.$field, name, $example, input, $read),)*
                    _ => Err(unknown(&name, input)),
                }
            }
        }
    };
}

options! {
    "key" like "key = order_id" => key: Parts = parts,
    "optional_key" like "optional_key = true" => optional_key: bool = optional_key,
    "scope" like "scope = \"payments.charge\"" => scope: Expr = scope,
    "fingerprint" like "fingerprint = (amount, &currency)" => fingerprint: Parts = parts,
    "ttl" like "ttl = \"24h\"" => ttl: Expr = duration::ttl,
    "lease" like "lease = \"30s\"" => lease: Expr = duration::lease,
    "wait" like "wait = \"10s\"" => wait: Expr = duration::wait,
    "timeout" like "timeout = \"5m\"" => timeout: Expr = duration::timeout,
    "on_err" like "on_err = record" => on_err: OnErr = on_err,
    "on_crash" like "on_crash = fail" => on_crash: Policy = on_crash,
    "detach" like "detach = false" => detach: bool = detach,
    "store" like "store = self.store" => store: Expr = store,
    "in_tx" like "in_tx = tx" => in_tx: Expr = in_tx,
    "codec" like "codec = Json" => codec: Type = codec,
    "map_err" like "map_err = |error| …" => map_err: Expr = map_err,
    "crate" like "crate = my_crate::idempotent_fn" => facade: Path = path,
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::parse_list.parse2(tokens.clone())?;
        options.tokens = tokens;
        options.check_in_tx()?;
        Ok(options)
    }

    /// Refuses what has no meaning where the record is in the caller's transaction.
    fn check_in_tx(&self) -> Result<()> {
        let Some(in_tx) = &self.in_tx else {
            return Ok(());
        };
        let given = [
            (
                self.store.as_ref().map(Given::name),
                "the record is in the transaction's own database",
            ),
            (
                self.lease.as_ref().map(Given::name),
                "the record is nobody else's until the transaction ends",
            ),
            (
                self.on_crash.as_ref().map(Given::name),
                "whatever crashes before the commit is rolled back",
            ),
            (
                self.timeout.as_ref().map(Given::name),
                "give up by dropping the call and rolling back",
            ),
            (
                self.detach.as_ref().map(Given::name),
                "the body borrows its caller's transaction, and stops with it",
            ),
        ];
        if let Some((name, why)) = given.iter().find_map(|(name, why)| Some(((*name)?, why))) {
            let message = format!("`{name}` has no meaning with `in_tx`: {why}");
            return Err(Error::new(name.span(), message));
        }
        if self.scope.is_none() {
            let message = "with `in_tx` the records stand in your database, so give the operation a name that lasts: \
                           `scope = \"orders.place\"`";
            return Err(Error::new(in_tx.name.span(), message));
        }
        Ok(())
    }

    fn parse_list(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            if !input.peek(Ident::peek_any) {
                return Err(input.error("expected an option, as in `key = order_id`"));
            }
            options.read(input.call(Ident::parse_any)?, input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }

    /// The key, the one option without a default.
    pub(crate) fn key(&self) -> Result<&Parts> {
        let missing = "`#[idempotent]` needs a key, the value that tells one call from another: \
                       `#[idempotent(key = order_id)]`";
        match &self.key {
            Some(key) => Ok(&key.value),
            None => Err(Error::new(proc_macro2::Span::call_site(), missing)),
        }
    }

    /// Whether the body runs on after its caller went away. It must then own what it uses.
    pub(crate) fn detached(&self) -> bool {
        self.in_tx.is_none() && self.detach.as_ref().is_none_or(|detach| detach.value)
    }
}

fn read_into<T>(
    option: &mut Option<Given<T>>,
    name: Ident,
    example: &str,
    input: ParseStream<'_>,
    read: fn(ParseStream<'_>) -> Result<T>,
) -> Result<()> {
    if option.is_some() {
        return Err(Error::new(
            name.span(),
            format!("`{name}` is given twice: keep one of the two"),
        ));
    }
    let needs_value = || Error::new(name.span(), format!("`{name}` needs a value: `{example}`"));
    if input.parse::<Option<Token![=]>>()?.is_none() || input.is_empty() || input.peek(Token![,]) {
        return Err(needs_value());
    }
    let value = read(input)?;
    *option = Some(Given { name, value });
    Ok(())
}

fn unknown(name: &Ident, input: ParseStream<'_>) -> Error {
    let written = name.to_string();
    let message = if let Some(near) = NAMES
        .iter()
        .min_by_key(|known| distance(&written, known))
        .filter(|near| distance(&written, near) <= 2)
    {
        format!(
            "unknown option `{name}`, did you mean `{near}`? The options are {}",
            listed(NAMES)
        )
    } else if input.is_empty() || input.peek(Token![,]) {
        format!(
            "`{name}` is not an option; for a key write `key = {name}`. The options are {}",
            listed(NAMES)
        )
    } else {
        format!("unknown option `{name}`. The options are {}", listed(NAMES))
    };
    Error::new(name.span(), message)
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The parts of a key or a fingerprint: the elements of a tuple literal, or a single expression.
pub(crate) struct Parts {
    pub(crate) is_tuple: bool,
    pub(crate) elements: Vec<Expr>,
}

fn parts(input: ParseStream<'_>) -> Result<Parts> {
    match expression(input)? {
        Expr::Tuple(tuple) if tuple.elems.is_empty() => Err(Error::new_spanned(
            tuple,
            "nothing in here tells one call from another: name at least one value",
        )),
        Expr::Tuple(tuple) => Ok(Parts {
            is_tuple: true,
            elements: tuple.elems.into_iter().collect(),
        }),
        one => Ok(Parts {
            is_tuple: false,
            elements: vec![one],
        }),
    }
}

fn detach(input: ParseStream<'_>) -> Result<bool> {
    yes_or_no("detach", input)
}

fn optional_key(input: ParseStream<'_>) -> Result<bool> {
    yes_or_no("optional_key", input)
}

fn yes_or_no(option: &str, input: ParseStream<'_>) -> Result<bool> {
    let literal = input.parse::<LitBool>();
    literal.map(|literal| literal.value).map_err(|error| {
        let hint = format!(
            "`{option}` is decided where the function is written: `true` or `false`, without quotes"
        );
        Error::new(error.span(), hint)
    })
}

/// An expression, without its parentheses and without the invisible group around a `macro_rules!`
/// fragment.
pub(crate) fn expression(input: ParseStream<'_>) -> Result<Expr> {
    let mut value: Expr = input.parse()?;
    loop {
        value = match value {
            Expr::Group(group) if group.attrs.is_empty() => *group.expr,
            Expr::Paren(paren) if paren.attrs.is_empty() => *paren.expr,
            bare => return Ok(bare),
        };
    }
}

/// As [`expression`], but refuses a literal.
fn no_literal(input: ParseStream<'_>, instead: &str) -> Result<Expr> {
    match expression(input)? {
        Expr::Lit(literal) => Err(Error::new_spanned(literal, instead)),
        value => Ok(value),
    }
}

fn store(input: ParseStream<'_>) -> Result<Expr> {
    no_literal(
        input,
        "a store is a `SharedStore` that is made beforehand: name the value, as in `store = self.store`. (A URL belongs in \
         `IDEMPOTENT_STORE`, or where the store is made)",
    )
}

fn in_tx(input: ParseStream<'_>) -> Result<Expr> {
    let value = no_literal(
        input,
        "name the argument that has the transaction, as in `in_tx = tx` for `tx: &mut Transaction<'_>`",
    )?;
    match value {
        Expr::Reference(shared) if shared.mutability.is_none() => Err(Error::new_spanned(
            shared,
            "the transaction is written to: `&mut`, or its name alone, as in `in_tx = tx`",
        )),
        value => Ok(value),
    }
}

fn map_err(input: ParseStream<'_>) -> Result<Expr> {
    no_literal(
        input,
        "write a closure or a function that makes an error of yours from this library's, as in \
         `map_err = |error| PaymentError::Store(error)`",
    )
}

fn codec(input: ParseStream<'_>) -> Result<Type> {
    let at = input.span();
    input.parse().map_err(|_| {
        Error::new(
            at,
            "write the type that makes the bytes, without quotes, as in `codec = Json`",
        )
    })
}

fn path(input: ParseStream<'_>) -> Result<Path> {
    let at = input.span();
    input.call(Path::parse_mod_style).map_err(|_| {
        Error::new(
            at,
            "write a path, without quotes, as in `crate = my_crate::idempotent_fn`",
        )
    })
}

/// The edit distance: letters added, left out, changed, or swapped with their neighbour.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            rows[row][column] = if row == 0 || column == 0 {
                row.max(column)
            } else {
                let changed = usize::from(left[row - 1] != right[column - 1]);
                let swapped = row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1];
                let cheapest = (rows[row - 1][column] + 1)
                    .min(rows[row][column - 1] + 1)
                    .min(rows[row - 1][column - 1] + changed);
                if swapped {
                    cheapest.min(rows[row - 2][column - 2] + 1)
                } else {
                    cheapest
                }
            };
        }
    }
    rows[left.len()][right.len()]
}
