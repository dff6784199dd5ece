"""The notifier: claims changes, composes, has the edges send NOTIFY, applies the outcomes, ends what expires."""
