//! Questions that the checks ask about a type's tokens.

use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;
use syn::{
    GenericArgument, Lifetime, PathArguments, PathSegment, Type, TypeParamBound, TypeTraitObject,
};

/// `R` of `Pin<Box<dyn Future<Output = R> + Send>>`, by any paths.
pub(crate) fn boxed_output(ty: &Type) -> Option<&Type> {
    let Type::TraitObject(object) = bare(argument_of(argument_of(ty, "Pin")?, "Box")?) else {
        return None;
    };
    let future = object.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound
            .path
            .segments
            .last()
            .filter(|last| last.ident == "Future"),
        _ => None,
    })?;
    let PathArguments::AngleBracketed(arguments) = &future.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
        _ => None,
    })
}

/// `T` of a path that ends in `name<T>`.
fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = bare(ty) else {
        return None;
    };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(argument)) => Some(argument),
        _ => None,
    }
}

/// The type without its parentheses and without the invisible group around a `macro_rules!`
/// fragment.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        _ => ty,
    }
}

/// The boxed future's type with any lifetime: that of what it borrows where it is written.
pub(crate) fn within_the_call(boxed: &Type) -> Type {
    struct Elide;

    impl VisitMut for Elide {
        fn visit_type_trait_object_mut(&mut self, object: &mut TypeTraitObject) {
            for bound in &mut object.bounds {
                if let TypeParamBound::Lifetime(lifetime) = bound {
                    *lifetime = Lifetime::new("'_", lifetime.span());
                }
            }
        }
    }

    let mut boxed = boxed.clone();
    Elide.visit_type_mut(&mut boxed);
    boxed
}

/// Whether the type has a `&` or a lifetime that is neither `'static` nor bound within the type.
pub(crate) fn borrows(ty: &Type) -> bool {
    let mut search = Borrows(false);
    search.visit_type(ty);
    search.0
}

struct Borrows(bool);

impl<'ast> Visit<'ast> for Borrows {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        self.0 |= reference.lifetime.is_none();
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0 |= lifetime.ident != "static";
    }

    // `fn(&str)`, `dyn Fn(&str)` and `for<'a> …` bind their own lifetimes.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(
        &mut self,
        _: &'ast syn::ParenthesizedGenericArguments,
    ) {
    }
    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }
}

/// `T` and `E` of a type written as `Result<T, E>`. An alias may have them in any order.
pub(crate) fn sides(result: &Type) -> Option<(&Type, Option<&Type>)> {
    let last = last_segment(result).filter(|last| last.ident == "Result")?;
    let mut sides = arguments(last);
    Some((sides.next()?, sides.next()))
}

/// A `&'static` reference inside a value. serde cannot read it back, because it would have to make
/// a new `'static` value. It is found in the type itself and in the standard library's containers;
/// other types are not known.
pub(crate) fn static_reference(ty: &Type) -> Option<&Type> {
    const HOLD: &[&str] = &[
        "Option", "Vec", "VecDeque", "Box", "Rc", "Arc", "Result", "HashMap", "BTreeMap",
        "HashSet", "BTreeSet", "Reverse", "Json",
    ];
    match bare(ty) {
        found @ Type::Reference(_) => Some(found),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(static_reference),
        Type::Array(array) => static_reference(&array.elem),
        path @ Type::Path(_) => {
            let last = last_segment(path)?;
            let holds = HOLD.iter().any(|name| last.ident == name);
            arguments(last).filter(|_| holds).find_map(static_reference)
        }
        _ => None,
    }
}

/// A `Box<dyn Trait>` that is not `Send`.
pub(crate) fn is_box_without_send(ty: &Type) -> bool {
    let Some(Type::TraitObject(object)) = argument_of(ty, "Box").map(bare) else {
        return false;
    };
    // Only the standard library's traits are known not to imply `Send`.
    let names = object.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    names.iter().any(|name| name.ident == "Error") && !names.iter().any(|name| name.ident == "Send")
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match bare(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn arguments(of: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &of.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments
        .into_iter()
        .flatten()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
}

/// Whether the type is or contains `impl Trait`.
pub(crate) fn has_impl_trait(ty: &Type) -> bool {
    let mut search = HasImplTrait(false);
    search.visit_type(ty);
    search.0
}

struct HasImplTrait(bool);

impl<'ast> Visit<'ast> for HasImplTrait {
    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.0 = true;
    }
}
