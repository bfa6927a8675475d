//! Named counters: plain integers that one thread adds to, and an iterator over their names to
//! export them by.
/// Declares a struct of `u64` counters with `iter`, which yields each name (the field's) with its
/// value.
///
/// ```
/// simoom_io::counters! {
///     /// What a ferry counts.
///     pub struct Ferry {
///         /// Passengers taken aboard.
///         boarded,
///         /// Passengers left on the quay because the ferry was full.
///         refused,
///     }
/// }
/// let mut ferry = Ferry::default();
/// ferry.boarded += 2;
/// assert_eq!(ferry.iter().collect::<Vec<_>>(), [("boarded", 2), ("refused", 0)]);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// Each counter's name and value, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}
