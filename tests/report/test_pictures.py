"""Small images as data URIs."""

import base64
import io

import matplotlib.image
import numpy as np
import pytest

from svqvae.report.pictures import MAX_SIDE, class_pictures, picture, shades


def pixels(uri: str):
    head, content = uri.split(",")
    assert head == "data:image/png;base64"
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(content)))


def test_shades_are_shares_of_the_ink_and_nan_is_clear() -> None:
    found = pixels(shades(np.array([[0.0, 1.0], [0.5, np.nan]])))
    np.testing.assert_allclose(found[..., 3], [[0, 1], [0.5, 0]], atol=0.01)


def test_the_highest_value_of_an_image_is_black_and_others_are_clipped() -> None:
    found = pixels(picture(np.array([[0.0, 1.0], [0.5, 7.0]]), 0, 1))
    np.testing.assert_allclose(found[..., 0], [[1, 0], [0.5, 0]], atol=0.01)


def test_images_of_three_channels_are_in_colour() -> None:
    red = np.zeros((3, 4, 4))
    red[0] = 1
    np.testing.assert_array_equal(pixels(picture(red, 0, 1))[0, 0, :3], [1, 0, 0])


@pytest.mark.parametrize("shape", [(200, 90), (1, 200, 90)])
def test_large_images_are_thinned_out(shape: tuple[int, ...]) -> None:
    assert max(pixels(picture(np.zeros(shape), 0, 1)).shape) <= MAX_SIDE


def test_each_class_of_images_has_its_code_real_and_simulated_samples(images) -> None:
    found = class_pictures(images.fitted, images.sets, seed=0)
    assert len(found) == 10
    assert all(len(facts["real"]) == len(facts["simulated"]) == 5 for facts in found)
    assert pixels(found[3]["code"]).shape == (8, 8, 4)


def test_tables_have_no_pictures(table) -> None:
    assert class_pictures(table.fitted, table.sets, seed=0) == []
