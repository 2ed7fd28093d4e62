//! Payloads that are alike: each mutation has one of its own, so that it can grow by itself.

/// Declares payloads that share their fields: those given, and `userErrors`. Each is made from a tuple of them.
macro_rules! payloads {
    (@one { $($(#[$about:meta])* $field:ident: $type:ty,)* } [$($doc:tt)*] $name:ident) => {
        $($doc)*
        #[derive(async_graphql::SimpleObject, Debug)]
        pub struct $name {
            $($(#[$about])* $field: $type,)*
            /// What was refused, and why; then nothing it concerns was changed.
            user_errors: Vec<$crate::graphql::user_error::UserError>,
        }

        impl From<($($type,)* Vec<$crate::graphql::user_error::UserError>)> for $name {
            fn from(
                ($($field,)* user_errors): ($($type,)* Vec<$crate::graphql::user_error::UserError>),
            ) -> Self {
                Self { $($field,)* user_errors }
            }
        }
    };
    ($fields:tt $($(#[$doc:meta])* $name:ident;)*) => {
        $($crate::graphql::payload::payloads!(@one $fields [$(#[$doc])*] $name);)*
    };
}

pub(super) use payloads;
