"""The compiled block of steps.

engine       trains a block under a strategy
partition    how a step is divided into programs, shares and chunks
gradients    the loss and gradients of one replica
packing      all sums of a step in one vector, for one all-reduce
update       applies the reduced gradients
sparse_rows  gradients of the looked-up rows of a table
optimizers   Adam, Adagrad, SGD, with updates of single rows
loss_scale   dynamic loss scale for float16
"""
