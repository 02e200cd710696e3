"""The papers' augmentation of small images: pad, crop at random, mirror at random."""

import keras
import numpy as np

AUGMENTATIONS = ("none", "crop", "crop_flip")
PADDING = 4


def check_augmentation(augment: str) -> None:
    """Raises a ValueError if the augmentation is unknown."""
    if augment not in AUGMENTATIONS:
        raise ValueError(
            f"Expected `augment` to be one of {list(AUGMENTATIONS)}. Received: augment={augment!r}"
        )


def pad_crop_flip(x: np.ndarray, augment: str, random: np.random.Generator) -> np.ndarray:
    """Pads by 4 pixels of zero, crops each image at random, and mirrors half of them.

    Args:
        x: Images (N, height, width, channels), or channels first if Keras is so configured.
        augment: "crop_flip"; "crop" does not mirror; "none" returns `x`.
        random: Random number generator.

    Returns:
        Images like `x`.
    """
    if augment == "none":
        return x
    is_first = keras.config.image_data_format() == "channels_first"
    x = np.moveaxis(x, 1, -1) if is_first else x
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    corners, is_mirrored = draw_crops(len(x), augment, random)
    x = np.stack(
        [
            image[top : top + height, left : left + width]
            for image, (top, left) in zip(padded, corners, strict=True)
        ]
    )
    x[is_mirrored] = x[is_mirrored, :, ::-1]
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if is_first else x


def draw_crops(
    samples: int, augment: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws where to crop padded images, and which ones to mirror.

    Args:
        samples: Number of images.
        augment: "crop_flip"; "crop" does not mirror; "none" does neither.
        random: Random number generator.

    Returns:
        Int array (samples, 2) of top-left corners, and a bool array (samples,): mirrored or not.
    """
    if augment == "none":
        return np.full((samples, 2), PADDING), np.zeros(samples, bool)
    corners = random.integers(0, 2 * PADDING + 1, (samples, 2))
    if augment == "crop":
        return corners, np.zeros(samples, bool)
    return corners, random.random(samples) < 0.5
