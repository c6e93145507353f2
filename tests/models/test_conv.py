"""Convolutions against PyTorch-free arithmetic: the two forms agree, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from remedis_jax.models.conv import conv2d, patches_conv2d, rows_kernel_gradient


@pytest.mark.parametrize(
    ("height", "width", "size", "stride", "padding"),
    [(5, 4, 3, 1, 1), (4, 4, 3, 2, 1), (2, 2, 3, 1, 1), (1, 1, 3, 1, 1), (9, 7, 7, 2, 3),
     (6, 5, 1, 2, 0), (3, 2, 3, 2, 1)],
)  # fmt: skip
def test_agrees_with_scipy(height, width, size, stride, padding):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, height, width, 3)).astype(np.float32)
    kernel = generator.standard_normal((size, size, 3, 4)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = np.stack(
        [
            [
                correlate(image, kernel[..., channel], mode="valid")[::stride, ::stride, 0]
                for channel in range(4)
            ]
            for image in padded.astype(np.float64)
        ]
    ).transpose(0, 2, 3, 1)
    got = conv2d(x, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    got = patches_conv2d(x, kernel, stride, padding)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_both_forms_have_the_same_gradients():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((3, 5, 5, 4)).astype(np.float32)
    kernel = generator.standard_normal((3, 3, 4, 6)).astype(np.float32)

    def loss(convolve):
        return lambda x, kernel: jnp.sin(convolve(x, kernel)).sum()

    by_lax = jax.grad(loss(lambda x, k: conv2d(x, k, stride=2, padding=1)), (0, 1))(x, kernel)
    by_patches = jax.grad(loss(lambda x, k: patches_conv2d(x, k, 2, 1)), (0, 1))(x, kernel)
    for a, b in zip(by_lax, by_patches, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 1, 3), (2, 1, 3), (2, 3, 7)])
def test_the_kernel_gradient_by_rows_is_that_of_the_convolution(stride, padding, size):
    generator = np.random.default_rng(2)
    x = generator.standard_normal((2, 10, 9, 4)).astype(np.float32)
    kernel = generator.standard_normal((size, size, 4, 5)).astype(np.float32)
    convolved, back = jax.vjp(lambda k: conv2d(x, k, stride=stride, padding=padding), kernel)
    gradient = generator.standard_normal(convolved.shape).astype(np.float32)
    got = rows_kernel_gradient(x, gradient, (size, size), stride, padding)
    np.testing.assert_allclose(got, back(gradient)[0], atol=2e-5)


def test_large_maps_have_the_gradients_of_a_convolution():
    generator = np.random.default_rng(3)
    x = generator.standard_normal((2, 16, 17, 16)).astype(np.float32)
    kernel = generator.standard_normal((3, 3, 16, 8)).astype(np.float32)

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected, back = jax.vjp(plain, x, kernel)
    gradient = generator.standard_normal(expected.shape).astype(np.float32)
    got, own_back = jax.vjp(lambda x, k: conv2d(x, k, padding=1), x, kernel)
    np.testing.assert_array_equal(got, expected)
    # Sums of 544 products of unit size.
    for one, two in zip(own_back(gradient), back(gradient), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
