//! A hashed, versioned container file of aligned sections.
