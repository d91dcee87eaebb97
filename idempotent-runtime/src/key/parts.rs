//! What a key can be made of.

use std::fmt::Display;

use crate::Key;

/// Takes the parts; `None` if one of them is missing.
type Show<'a> = dyn FnMut(Option<&[&dyn Display]>) + 'a;

/// A value that can be a key, or a part of one: anything that is [`Display`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, or a part of one",
    label = "needs `Display`",
    note = "a struct: name the field that tells one call from another. Several values: a tuple, `key = (a, b)`. \
            A list: the text it stands for, `key = format!(…)`",
    note = "an `Option`: add `optional_key = true`; a call whose key is `None` then runs without protection",
    note = "an `IdempotencyKey` belongs to whoever sent it: `key = key.of(user.id)`"
)]
pub trait KeyPart: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display + ?Sized> KeyPart for T {}

/// The parts of a key: an array of references to values of one type, `[&order]`, or a tuple of
/// references, `(&user, &order)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no parts of a key",
    label = "needs references to `Display` values",
    note = "write `&[&order]` for one part, and `&(&user, &order)` for several"
)]
pub trait KeyParts {
    /// Passes the parts on. An optional part may be `None`, and then there is no key.
    #[doc(hidden)]
    fn show(&self, write: &mut Show<'_>);

    /// The whole key, if it is given as a store has it.
    #[doc(hidden)]
    fn stored(&self) -> Option<&Key> {
        None
    }
}

/// A key as a store has it, scope included.
pub(crate) struct Stored<'a>(pub(crate) &'a Key);

impl KeyParts for Stored<'_> {
    fn show(&self, write: &mut Show<'_>) {
        write(None);
    }

    fn stored(&self) -> Option<&Key> {
        Some(self.0)
    }
}

impl<P: KeyPart + ?Sized> KeyParts for [&P] {
    fn show(&self, write: &mut Show<'_>) {
        let parts: Vec<_> = self.iter().map(|part| part as &dyn Display).collect();
        write(Some(&parts));
    }
}

impl<P: KeyPart + ?Sized, const N: usize> KeyParts for [&P; N] {
    #[inline]
    fn show(&self, write: &mut Show<'_>) {
        write(Some(&self.each_ref().map(|part| part as &dyn Display)));
    }
}

macro_rules! tuples {
    ($($part:ident $name:ident,)+) => {
        impl<$($part: KeyPart + ?Sized),+> KeyParts for ($(&$part,)+) {
            #[inline]
            fn show(&self, write: &mut Show<'_>) {
                let ($($name,)+) = self;
                write(Some(&[$($name as &dyn Display),+]));
            }
        }
    };
}

tuples!(A a,);
tuples!(A a, B b,);
tuples!(A a, B b, C c,);
tuples!(A a, B b, C c, D d,);
tuples!(A a, B b, C c, D d, E e,);
tuples!(A a, B b, C c, D d, E e, F f,);
tuples!(A a, B b, C c, D d, E e, F f, G g,);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h,);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h, I i,);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j,);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k,);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l,);

/// A part of a key that may be missing, made by [`optional_part`].
#[derive(Clone, Copy)]
pub struct OptionalPart<'a>(Option<&'a dyn Display>);

/// Never shows the part.
impl std::fmt::Debug for OptionalPart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OptionalPart").finish_non_exhaustive()
    }
}

impl<const N: usize> KeyParts for [OptionalPart<'_>; N] {
    fn show(&self, write: &mut Show<'_>) {
        if self.iter().any(|part| part.0.is_none()) {
            return write(None);
        }
        // None of the parts is missing.
        let parts = self.each_ref().map(|part| part.0.unwrap_or(&""));
        write(Some(&parts));
    }
}

/// A part of a key that is missing if `part` is `None`. A call without it runs its body
/// unprotected, in the caller's own future, as an [`Execution`](crate::Execution) of its own. This
/// is what `optional_key = true` expands to. By hand:
///
/// ```
/// # use idempotent_fn::{operation, Error, SharedStore, key::optional_part, store::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let store = SharedStore::new(MemoryStore::new());
/// let header: Option<&str> = None; // the client sent no key
/// let charge = operation::<Result<u64, Error>, _>("payments.charge", &[optional_part(&header)]).store(&store);
/// assert_eq!(charge.run(async { Ok(4711) }).await?, 4711); // it runs each time
/// # Ok(())
/// # }
/// ```
///
/// `M` is found by inference.
pub fn optional_part<M>(part: &impl MaybePart<M>) -> OptionalPart<'_> {
    OptionalPart(part.part())
}

/// A value that can be a key, or an `Option` of one. `M` says which, and is found by inference.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, or a part of one",
    label = "needs `Display`, or an `Option` of it",
    note = "a struct: name the field that tells one call from another. Several values: a tuple, `key = (a, b)`. \
            A list: the text it stands for, `key = format!(…)`",
    note = "an `IdempotencyKey` belongs to whoever sent it: `key = key.of(user.id)`"
)]
pub trait MaybePart<M> {
    #[doc(hidden)]
    fn part(&self) -> Option<&dyn Display>;
}

#[diagnostic::do_not_recommend]
impl<T: Display> MaybePart<marker::Always> for T {
    fn part(&self) -> Option<&dyn Display> {
        Some(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Display> MaybePart<marker::Sometimes> for Option<T> {
    fn part(&self) -> Option<&dyn Display> {
        self.as_ref().map(|part| part as &dyn Display)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Display> MaybePart<marker::Behind> for &Option<T> {
    fn part(&self) -> Option<&dyn Display> {
        self.as_ref().map(|part| part as &dyn Display)
    }
}

/// The ways in which a value can be a part.
mod marker {
    #[derive(Debug)]
    pub struct Always;
    #[derive(Debug)]
    pub struct Sometimes;
    #[derive(Debug)]
    pub struct Behind;
}
