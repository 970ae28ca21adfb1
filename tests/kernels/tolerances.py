"""One table of tolerances for the layers of networks, by element type.

f32 sums of n products of values near 1 differ from float64 by at most n * 2^-24 times the sum of the absolute products;
the tests keep n below 1,000 and values near 1, so that 2e-5 of the largest output covers every instruction set.
"""

from __future__ import annotations

SUM = {"float32": 2e-5}  # convolution, pooling: of the largest absolute output
POSITION = {"float32": 5e-5}  # resize: positions up to some hundred samples, rounded to f32 as torch rounds them
ROUND = {"float32": 1.3e-7}  # one or two roundings, relative
EXP = {"float32": 5e-7}  # sigmoid and softmax, absolute: values are at most 1
NORM = {"float32": 2e-6}  # group norm, of the largest absolute output: sums in f64, a handful of roundings in f32
