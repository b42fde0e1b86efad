/* Error, and memory of the caller as C++ hands it over: spans, shapes, views. Nothing here owns memory; seqcore.hpp
 * includes it. */
#ifndef SEQCORE_VIEWS_HPP
#define SEQCORE_VIEWS_HPP

#include "seqcore.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace seqcore {

class Error : public std::runtime_error {
public:
    Error(sc_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    explicit Error(const sc_error &error) : Error(error.status, error.message) {}
    sc_status status() const noexcept { return status_; }

private:
    sc_status status_;
};

/* So many elements one behind the other; std::span of C++20, and it converts, as anything with data() and size() does.
 * It owns nothing. */
template <class T> class Span {
    template <class C>
    using elements = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>;

public:
    constexpr Span() noexcept = default;
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, Span> &&
                                                std::is_convertible_v<elements<C> (*)[], T (*)[]>>>
    constexpr Span(C &&memory) noexcept : data_(std::data(memory)), size_(std::size(memory))
    {
    }
    /* For the length of a call: f({1, 2}). */
    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    constexpr Span(std::initializer_list<std::remove_const_t<T>> list) noexcept : Span(std::data(list), list.size())
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/* Up to SC_MAX_RANK sizes; SC_UNKNOWN for those that a call decides. */
class Shape {
public:
    Shape() noexcept = default;
    Shape(Span<const std::size_t> sizes) : rank_(sizes.size())
    {
        if (rank_ > SC_MAX_RANK) {
            throw Error(SC_BAD_SHAPE, "a shape has at most " + std::to_string(SC_MAX_RANK) + " axes, found " +
                                          std::to_string(rank_));
        }
        for (std::size_t d = 0; d < rank_; d++) {
            sizes_[d] = sizes[d];
        }
    }
    Shape(std::initializer_list<std::size_t> sizes) : Shape(Span<const std::size_t>(sizes)) {}

    std::size_t rank() const noexcept { return rank_; }
    std::size_t operator[](std::size_t axis) const noexcept { return sizes_[axis]; }
    const std::size_t *begin() const noexcept { return sizes_; }
    const std::size_t *end() const noexcept { return sizes_ + rank_; }

    /* The product; SC_UNKNOWN where an axis is unknown, or the elements are too many to count. */
    std::size_t elements() const noexcept
    {
        std::size_t product = 1;
        bool none = false, known = true;
        for (const std::size_t size : *this) {
            none = none || size == 0;
            known = known && size != SC_UNKNOWN && (size == 0 || product < SC_UNKNOWN / size);
            product *= known && size > 0 ? size : 1;
        }
        return !known ? SC_UNKNOWN : none ? 0 : product;
    }

    /* The shape with `rows` where this one has an unknown size, its batch. */
    Shape of_rows(std::size_t rows) const noexcept
    {
        Shape shape = *this;
        for (std::size_t d = 0; d < rank_; d++) {
            shape.sizes_[d] = sizes_[d] == SC_UNKNOWN ? rows : sizes_[d];
        }
        return shape;
    }

    sc_array array(void *data) const noexcept
    {
        sc_array made = {data, rank_, {}};
        for (std::size_t d = 0; d < rank_; d++) {
            made.shape[d] = sizes_[d];
        }
        return made;
    }

    friend bool operator==(const Shape &a, const Shape &b) noexcept
    {
        bool same = a.rank_ == b.rank_;
        for (std::size_t d = 0; same && d < a.rank_; d++) {
            same = a.sizes_[d] == b.sizes_[d];
        }
        return same;
    }
    friend bool operator!=(const Shape &a, const Shape &b) noexcept { return !(a == b); }

private:
    std::size_t rank_ = 0, sizes_[SC_MAX_RANK] = {};
};

/* Memory of the caller with a shape, row-major. T is float or std::int64_t, const or not. */
template <class T> class View {
    static_assert(std::is_same_v<std::remove_const_t<T>, float> || std::is_same_v<std::remove_const_t<T>, std::int64_t>,
                  "arrays hold float or std::int64_t");

public:
    View(Span<T> memory, const Shape &shape) : memory_(memory), shape_(shape)
    {
        if (shape.elements() != memory.size()) {
            throw Error(SC_BAD_SHAPE, "a view of " + std::to_string(shape.elements()) + " elements over memory of " +
                                          std::to_string(memory.size()));
        }
    }
    template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
    View(const View<U> &other) noexcept : memory_(other.memory()), shape_(other.shape())
    {
    }

    Span<T> memory() const noexcept { return memory_; }
    const Shape &shape() const noexcept { return shape_; }
    sc_array array() const noexcept
    {
        /* an empty vector has no address, and is no absent argument for that */
        return shape_.array(memory_.data() != nullptr ? const_cast<std::remove_const_t<T> *>(memory_.data())
                                                      : &nothing_);
    }

private:
    static inline std::remove_const_t<T> nothing_ = 0;
    Span<T> memory_;
    Shape shape_;
};

template <class C> View(C &&, Shape) -> View<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>;

/* What a call reads: float features and states, or std::int64_t ids and lengths. Without memory, an optional input is
 * left out. */
class Input {
public:
    Input() noexcept = default;
    template <class T>
    Input(const View<T> &view) noexcept
        : array_(view.array()), dtype_(std::is_same_v<std::remove_const_t<T>, float> ? SC_F32 : SC_I64)
    {
    }
    const sc_array &array() const noexcept { return array_; }
    sc_dtype dtype() const noexcept { return dtype_; }

private:
    sc_array array_ = {};
    sc_dtype dtype_ = SC_F32;
};

/* What a call writes: float, or std::int64_t where the output is of indices. */
class Output {
public:
    Output(const View<float> &view) noexcept : array_(view.array()), dtype_(SC_F32) {}
    Output(const View<std::int64_t> &view) noexcept : array_(view.array()), dtype_(SC_I64) {}
    const sc_array &array() const noexcept { return array_; }
    sc_dtype dtype() const noexcept { return dtype_; }

private:
    sc_array array_;
    sc_dtype dtype_;
};

/* The same as Input without its shape, which follows from the model: f(vector), f({1, 2}). */
class Elements {
    template <class C>
    using type = std::remove_const_t<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>;

public:
    template <class C,
              class = std::enable_if_t<std::is_same_v<type<C>, float> || std::is_same_v<type<C>, std::int64_t>>>
    Elements(C &&memory) noexcept
        : data_(std::data(memory)), size_(std::size(memory)), dtype_(std::is_same_v<type<C>, float> ? SC_F32 : SC_I64)
    {
    }
    Elements(std::initializer_list<float> list) noexcept : Elements(Span<const float>(list)) {}
    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    sc_dtype dtype() const noexcept { return dtype_; }

private:
    const void *data_;
    std::size_t size_;
    sc_dtype dtype_;
};

} // namespace seqcore

#endif
